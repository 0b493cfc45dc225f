"""What only the containers need: their secrets, the database's roles, and a health check without curl."""
