"""The service: HTTP edge, domain, database, artifact store. Imports no torch."""
