"""Evaluation maths on arrays, callable without a Runner."""
