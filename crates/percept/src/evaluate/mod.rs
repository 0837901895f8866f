//! temporary
mod measure;
pub use measure::*;
use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores { pub loss: f64, pub top1: f64, #[serde(skip_serializing_if = "Option::is_none")] pub top5: Option<f64>, pub images: usize }
#[derive(Clone, Debug)]
pub struct Evaluation { pub scores: Scores }
impl Evaluation {
    pub fn new(logits: &[f32], labels: &[u32], classes: usize, temperature: f32) -> Self {
        let mut loss = 0.0; let mut right = 0;
        for (row, &label) in logits.chunks_exact(classes).zip(labels) {
            let m = row.iter().copied().fold(f32::MIN, f32::max);
            let s: f64 = row.iter().map(|v| f64::from((v - m) / temperature).exp()).sum();
            loss += s.ln() - f64::from((row[label as usize] - m) / temperature);
            right += (crate::ops::largest(row) == label as usize) as usize;
        }
        let n = labels.len().max(1) as f64;
        Self { scores: Scores { loss: loss / n, top1: right as f64 / n, top5: None, images: labels.len() } }
    }
    pub fn to_text(&self) -> String { format!("{:?}", self.scores) }
}
