"""What this server can do, for clients that want to know before they ask."""
