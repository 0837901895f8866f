//! Metrics and calibration.
