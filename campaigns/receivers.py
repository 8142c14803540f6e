"""What follows for campaigns from what happens elsewhere."""
