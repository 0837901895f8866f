//! The learning rate over a training.

use super::config::Schedule;

/// Share of a one-cycle schedule that rises.
const RISE: f64 = 0.2;

/// What the largest learning rate is multiplied with when a share of `progress` of the training is done. The first
/// `warmup` share rises in a straight line on top.
pub fn factor(schedule: Schedule, progress: f64, warmup: f64) -> f64 {
    let rising = if warmup > 0.0 { (progress / warmup).min(1.0) } else { 1.0 };
    rising
        * match schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()),
            Schedule::OneCycle if progress < RISE => progress / RISE,
            Schedule::OneCycle => (1.0 - progress).max(0.0) / (1.0 - RISE),
            Schedule::Step if progress < 0.5 => 1.0,
            Schedule::Step if progress < 0.75 => 0.1,
            Schedule::Step => 0.01,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_begin_peak_and_end_as_described() {
        let at = |schedule, step: u32| factor(schedule, (f64::from(step) + 0.5) / 1000.0, 0.0);
        assert_eq!(at(Schedule::Constant, 999), 1.0);
        assert!(at(Schedule::Cosine, 0) > 0.99 && at(Schedule::Cosine, 999) < 1e-5);
        assert!(at(Schedule::OneCycle, 0) < 0.01 && at(Schedule::OneCycle, 200) > 0.99);
        assert!(at(Schedule::OneCycle, 999) < 1e-3);
        assert_eq!([400, 600, 900].map(|step| at(Schedule::Step, step)), [1.0, 0.1, 0.01]);
    }

    #[test]
    fn warm_up_rises_from_nothing() {
        assert!(factor(Schedule::Constant, 0.0005, 0.1) < 0.01);
        assert_eq!(factor(Schedule::Constant, 0.1, 0.1), 1.0);
    }
}
