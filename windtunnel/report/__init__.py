"""Laying out what the stages drew: each stage hands over `Section`s; nothing here knows a stage."""
