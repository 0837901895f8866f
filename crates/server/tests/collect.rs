//! Corrected pictures: kept where they are asked for, within bounds, and ready to train on.

mod common;

use std::fs;

use common::{colour, post, train_on, with};

#[tokio::test]
async fn what_was_kept_can_be_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let server = with(|config| config.collect = Some(kept.clone()));
    for seed in 0..12 {
        let class = if seed % 2 == 0 { "warm" } else { "not%20warm" };
        let answer = post(&server, &format!("/collect?class={class}"), "image/png", colour(seed % 2 == 0, seed)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let run = train_on(&kept, folder.path(), &[]);
    assert_eq!(percept::Classifier::open(run).unwrap().card().classes, ["not warm", "warm"]);
}

#[tokio::test]
async fn no_more_is_kept_than_was_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    // Small pictures count for 64 KiB: three of them.
    let server = with(|config| {
        config.collect = Some(kept.clone());
        config.limits.collected = 200 << 10;
    });
    let keep = |class: &'static str| post(&server, class, "image/png", colour(true, 1));
    for class in ["/collect?class=a", "/collect?class=b", "/collect?class=c"] {
        assert_eq!(keep(class).await.status, 201);
    }
    let full = keep("/collect?class=d").await;
    assert_eq!((full.status.as_u16(), full.error().contains("fill the space")), (507, true), "{}", full.text());
    assert!(!kept.join("d").exists());
    // Somebody takes pictures away.
    fs::remove_dir_all(kept.join("a")).unwrap();
    assert_eq!(keep("/collect?class=d").await.status, 201);
    assert_eq!(keep("/collect?class=d").await.status, 507);
    // What was there before the server was counts as well.
    let server = with(|config| {
        config.collect = Some(kept.clone());
        config.limits.collected = 200 << 10;
    });
    assert_eq!(post(&server, "/collect?class=e", "image/png", colour(true, 1)).await.status, 507);
}
