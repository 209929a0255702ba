//! Rollups: every request counted per second, minute and hour, with histograms that merge exactly.
