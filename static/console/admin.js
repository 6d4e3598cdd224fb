// Loaded by the admin right after its htmx: what would need a looser content security policy is off, as in base.html.

Object.assign(htmx.config, { allowEval: false, allowScriptTags: false, includeIndicatorStyles: false, historyCacheSize: 0, refreshOnHistoryMiss: true });
