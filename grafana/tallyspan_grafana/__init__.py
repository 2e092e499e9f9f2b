"""Makes grafana/dashboards/*.json; change this, run `make dashboards`, commit both."""
