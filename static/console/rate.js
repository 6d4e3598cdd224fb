// How fast a storm grows, from its alerts by buckets of 15 s. The rules and words are those of storms/rate.py.

const BUCKET = 15;
const BUCKETS = 60;
const MINUTE = 60 / BUCKET;
const HEIGHT = 20;

// `recent` is {from: first bucket, counts}, or {}; `seconds` the server's time now.
export function rateOf(recent, seconds) {
  const last = Math.floor(seconds / BUCKET);
  const bars = Array.from({ length: BUCKETS }, (_, place) => recent.counts?.[last - BUCKETS + 1 + place - recent.from] ?? 0);
  const elapsed = seconds / BUCKET - last;
  const latest = minute(bars, BUCKETS, elapsed);
  const before = minute(bars, BUCKETS - MINUTE, elapsed);
  return { bars, perMinute: Math.round(latest), trend: trendOf(latest, before) };
}

function minute(bars, end, elapsed) {
  const whole = bars.slice(end - MINUTE, end - 1).reduce((sum, count) => sum + count, 0);
  return whole + bars[end - 1] * (end === BUCKETS ? 1 : elapsed) + bars[end - MINUTE - 1] * (1 - elapsed);
}

function trendOf(latest, before) {
  if (latest < 0.5) return "quiet";
  if (latest > before * 1.25 + 1) return "rising";
  return latest < before * 0.75 - 1 ? "calming" : "steady";
}

export function sparkPath(bars) {
  const most = Math.max(...bars);
  return bars
    .map((count, place) => {
      const tall = Math.max((HEIGHT * count) / most, 1.5).toFixed(1);
      return count ? `M${place} ${HEIGHT}v-${tall}h.8v${tall}z` : "";
    })
    .join("");
}
