"""The dashboards, a file each; `build(zone)` returns one whose days and months are the zone's."""
