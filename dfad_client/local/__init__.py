"""What runs on this machine, in processes of its own: the service, and the engine alone."""
