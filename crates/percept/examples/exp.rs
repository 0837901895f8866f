use percept::train::*;
use std::{sync::atomic::AtomicBool, time::Instant};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mut o: TrainOptions = TrainOptions::read(std::path::Path::new(&a[1])).unwrap();
    if o.data.is_empty() { o.data = "cifar10".into(); }
    for s in &a[3..] { if s == "tutorial" {} }
    let out = std::path::PathBuf::from(&a[2]);
    std::fs::remove_dir_all(&out).ok();
    let stop = AtomicBool::new(false);
    let t = Instant::now();
    let r = train(&o, &Place::New(Some(out)), t, &stop, &|e| match e {
        Event::Evaluated(r) => println!("epoch {:.1} {:.1}s train {:.3} {:.4} val {:.3} {:.4}", r.epoch, r.seconds, r.train_loss, r.train_top1, r.validation_loss.unwrap_or(0.0), r.validation_top1.unwrap_or(0.0)),
        Event::Step { step, top1, .. } if a.len() > 3 && step % 100 == 0 => println!("Step {step}: {top1:.2}"),
        _ => {} });
    match r { Ok(r) => println!("train {:?} val {:?} test(hidden) time {:.2}", r.train, r.validation.map(|v| v.top1), t.elapsed().as_secs_f64()), Err(e) => println!("{e} {:?}", e.hint()) }
}
