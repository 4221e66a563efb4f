"""Published weights: where they are published, fetched, checked, and copied into a network."""
