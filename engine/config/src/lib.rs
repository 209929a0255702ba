//! Reads YAML configuration and lists all of its problems at once.
