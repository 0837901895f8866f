//! The plain API, as programs and the page use it.

mod common;

use axum::{
    body::Body,
    http::{Request, header},
};
use common::{Answer, FORM, ask, config, form, get, png, post, run, server, with};
use percept::Classifier;
use percept_server::{AppState, ModelSource, Origin};
use serde_json::json;

#[tokio::test]
async fn a_picture_gets_the_answer_that_the_library_gives() {
    let server = server();
    let picture = png(20, 3);
    let answer = post(&server, "/predict?top=10", "image/png", picture.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let expected = Classifier::open(run()).unwrap().classify_bytes(&picture).unwrap();
    let predictions = answer["results"][0]["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 10);
    for (got, expected) in predictions.iter().zip(&expected.likelihoods) {
        assert_eq!(got["class"], expected.class);
        assert_eq!(got["probability"].as_f64().unwrap() as f32, expected.probability);
    }
    assert_eq!((&answer["model"], &answer["version"]), (&json!("digits"), &json!("1")));
    assert_eq!(answer["results"][0]["unknown"], expected.unknown);
    assert!(answer["milliseconds"].as_f64().unwrap() > 0.0);
    // What says nothing of itself, and what curl says of everything, is looked at too.
    let nameless = Request::post("/predict").body(Body::from(picture.clone())).unwrap();
    assert_eq!(ask(&server, nameless).await.status, 200);
    let default = post(&server, "/predict", "application/x-www-form-urlencoded", picture).await;
    assert_eq!(default.json()["results"][0]["predictions"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn of_several_files_a_bad_one_is_an_error_in_its_place() {
    let server = server();
    let (good, other) = (png(8, 0), png(9, 99));
    let body = form(&[("a.png", &good), ("b.png", &good[..40]), ("c.png", &other)]);
    let answer = post(&server, "/predict?model=digits", FORM, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let results = answer.json()["results"].clone();
    assert_eq!(results[1], json!({"file": "b.png", "error": "truncated PNG"}));
    for (at, name, picture) in [(0, "a.png", &good), (2, "c.png", &other)] {
        let alone = post(&server, "/predict", "image/png", picture.clone()).await.json();
        assert_eq!(results[at]["file"], name);
        assert_eq!(results[at]["predictions"], alone["results"][0]["predictions"]);
    }
    let alone = post(&server, "/predict", FORM, form(&[("b.png", &good[..40])])).await;
    assert_eq!((alone.status.as_u16(), alone.error().as_str()), (422, "truncated PNG"));
}

#[tokio::test]
async fn an_explanation_is_a_picture() {
    let server = server();
    let answer = post(&server, "/predict?explain=true", "image/png", png(900, 1)).await;
    let overlay = answer.json()["results"][0]["overlay"].as_str().unwrap().to_string();
    assert!(overlay.starts_with("data:image/png;base64,iVBOR"), "{overlay:.60}");
    let answer = post(&server, "/predict", "image/png", png(8, 1)).await.json();
    assert!(answer["results"][0].get("overlay").is_none());
}

#[tokio::test]
async fn several_models_are_called_by_name() {
    let two = |config: &mut percept_server::ServerConfig| {
        config.models.push(ModelSource { name: "again".into(), origin: Origin::Path(run().into()) });
    };
    let server = with(two);
    let listed = get(&server, "/models").await.json();
    let names: Vec<_> = listed["models"].as_array().unwrap().iter().map(|model| model["name"].clone()).collect();
    assert_eq!(names, ["digits", "again"]);
    let first = &listed["models"][0];
    assert_eq!(first["input"], json!({"height": 8, "width": 8, "channels": 1}));
    assert_eq!((&first["version"], &first["collects"]), (&json!("1"), &json!(false)));
    assert_eq!(first["classes"].as_array().unwrap().len(), 10);
    let answer = post(&server, "/predict?model=again", "image/png", png(8, 0)).await;
    assert_eq!(answer.json()["model"], "again");
    let answer = post(&server, "/predict?model=cats", "image/png", png(8, 0)).await;
    assert_eq!((answer.status.as_u16(), answer.error().as_str()), (404, "there is no model \"cats\""));
    assert_eq!(answer.json()["hint"], "served are digits, again");
    let mut twice = config();
    twice.models.push(ModelSource { name: "digits".into(), origin: Origin::Path(run().into()) });
    assert!(AppState::new(twice).is_err_and(|error| error.to_string().contains("two models are called digits")));
}

#[tokio::test]
async fn pictures_are_kept_only_where_a_folder_is_named_for_them() {
    let refused = post(&server(), "/collect?class=3", "image/png", png(8, 0)).await;
    assert_eq!((refused.status.as_u16(), refused.error().as_str()), (403, "this server keeps no pictures"));
    let folder = tempfile::tempdir().unwrap();
    let collect = folder.path().join("kept");
    let server = with(|config| config.collect = Some(collect.clone()));
    assert_eq!(get(&server, "/models").await.json()["models"][0]["collects"], true);
    let picture = png(8, 0);
    let kept = |answer: Answer| {
        assert_eq!(answer.status, 201, "{}", answer.text());
        collect.join(answer.json()["file"].as_str().unwrap())
    };
    let known = kept(post(&server, "/collect?class=3", "image/png", picture.clone()).await);
    assert_eq!(known.parent().unwrap(), collect.join("3"));
    assert_eq!(std::fs::read(&known).unwrap(), picture);
    let new = kept(post(&server, "/collect?class=Maine%20Coon", "image/png", picture.clone()).await);
    assert_eq!(new.parent().unwrap(), collect.join("Maine Coon"));
    for class in ["..%2F..%2Fetc", "%2Fetc", "..", "a%5Cb", ".ssh", "a%00b", ""] {
        let answer = post(&server, &format!("/collect?class={class}"), "image/png", picture.clone()).await;
        assert_eq!(answer.status, 400, "{class}: {}", answer.text());
    }
    let answer = post(&server, "/collect?class=3", "image/png", "no picture").await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn every_answer_has_an_id_and_tells_browsers_what_to_keep_to() {
    let server = server();
    for path in ["/models", "/v2/health/live", "/nowhere"] {
        let answer = get(&server, path).await;
        assert!(answer.headers.contains_key("x-request-id"), "{path}");
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
    let request = Request::get("/models").header("x-request-id", "mine-1").body(Body::empty()).unwrap();
    assert_eq!(ask(&server, request).await.headers["x-request-id"], "mine-1");
    let request = Request::get("/models").header("x-request-id", "a b\"").body(Body::empty()).unwrap();
    assert_ne!(ask(&server, request).await.headers["x-request-id"], "a b\"");
}

#[tokio::test]
async fn the_description_names_every_path() {
    let description = get(&server(), "/openapi.json").await.json();
    let paths: Vec<&String> = description["paths"].as_object().unwrap().keys().collect();
    let expected = [
        "/collect",
        "/metrics",
        "/models",
        "/openapi.json",
        "/predict",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/stats",
        "/v2/models/{name}",
        "/v2/models/{name}/config",
        "/v2/models/{name}/infer",
        "/v2/models/{name}/ready",
        "/v2/models/{name}/stats",
        "/v2/models/{name}/versions/{version}",
        "/v2/models/{name}/versions/{version}/config",
        "/v2/models/{name}/versions/{version}/infer",
        "/v2/models/{name}/versions/{version}/ready",
        "/v2/models/{name}/versions/{version}/stats",
        "/v2/repository/index",
    ];
    assert_eq!(paths, expected);
}

#[tokio::test]
async fn what_happens_is_counted() {
    let server = server();
    post(&server, "/predict", "image/png", png(8, 0)).await;
    post(&server, "/predict", "image/png", "no picture").await;
    let class =
        post(&server, "/predict", "image/png", png(8, 0)).await.json()["results"][0]["predictions"][0]["class"].clone();
    let class = class.as_str().unwrap();
    let answer = get(&server, "/metrics").await;
    assert!(answer.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = answer.text();
    for line in [
        "percept_requests_total{route=\"/predict\",status=\"200\"} 2",
        "percept_requests_total{route=\"/predict\",status=\"422\"} 1",
        "percept_pictures_total{model=\"digits\",outcome=\"unreadable\"} 1",
        &format!("percept_predictions_total{{model=\"digits\",class=\"{class}\"}} 2"),
        "percept_request_seconds_count{route=\"/predict\"} 3",
        "percept_compute_seconds_count{model=\"digits\"} 2",
        "percept_batch_pictures_sum{model=\"digits\"} 2.0",
        "percept_queue_pictures{model=\"digits\"} 0",
        "percept_model_version{model=\"digits\"} 1",
        "percept_ready 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
