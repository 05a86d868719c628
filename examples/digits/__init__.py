"""Handwritten digits: a teacher, a student that never sees a digit, and real labels to judge both."""
