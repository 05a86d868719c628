"""Settings, the database, ids, errors: what every room stands on."""
