"""Programs for the containers only: secrets, database roles, and a health check without curl."""
