//! PromQL: a small evaluator over any source of series.
