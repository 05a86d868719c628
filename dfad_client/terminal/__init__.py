"""What people see: texts, bars and curves."""
