"""What providers report as used and no span tells of, booked as entries of its own."""
