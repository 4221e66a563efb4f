"""Our model file: written whole, and opened without deserialising anything."""
