"""The console's own pages. Each is whole without JavaScript; `static/console/` keeps it true while it is open."""
