"""What a call costs: the administrator's prices over the bundled ones, exact to the pico-dollar."""
