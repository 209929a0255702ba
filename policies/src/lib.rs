//! Cedar policies: compile, evaluate and enforce.
