"""What tenants use: counted by month, and shown."""
