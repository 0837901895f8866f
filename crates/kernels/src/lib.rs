//! CPU compute for image classifiers, on plain slices.
