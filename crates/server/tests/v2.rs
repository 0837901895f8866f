//! The Open Inference Protocol, as its clients speak it.

mod common;

use axum::{Router, body::Body, http::Request};
use common::{Answer, ask, get, png, post, run, server};
use percept::Classifier;
use serde_json::{Value, json};

const INFER: &str = "/v2/models/digits/infer";
const LENGTH: &str = "inference-header-content-length";

async fn infer(server: &Router, request: &Value) -> Answer {
    post(server, INFER, "application/json", request.to_string()).await
}

/// A request with binary data behind its JSON.
async fn infer_binary(server: &Router, request: &Value, binary: &[u8]) -> Answer {
    let head = request.to_string();
    let request = Request::post(INFER).header(LENGTH, head.len());
    ask(server, request.body(Body::from([head.as_bytes(), binary].concat())).expect("a request")).await
}

fn pixels(count: usize) -> Vec<u8> {
    (0..count * 64).map(|at| (at * 37 % 251) as u8).collect()
}

fn tensor(count: usize) -> Value {
    json!({"name": "images", "datatype": "UINT8", "shape": [count, 8, 8, 1], "data": pixels(count)})
}

#[tokio::test]
async fn health_and_metadata() {
    let server = server();
    for path in ["/v2/health/live", "/v2/health/ready", "/v2/models/digits/ready", "/v2/models/digits/versions/1/ready"]
    {
        assert_eq!(get(&server, path).await.status, 200, "{path}");
    }
    let described = get(&server, "/v2").await.json();
    assert_eq!(described["name"], "percept");
    for extension in ["binary_tensor_data", "classification", "statistics"] {
        assert!(described["extensions"].as_array().unwrap().contains(&json!(extension)), "{extension}");
    }
    let expected = json!({
        "name": "digits", "versions": ["1"], "platform": "percept",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
    });
    for path in ["/v2/models/digits", "/v2/models/digits/versions/1"] {
        let mut found = get(&server, path).await.json();
        found["outputs"].as_array_mut().unwrap().truncate(1);
        assert_eq!(found, expected);
    }
    assert_eq!(get(&server, "/v2/models/digits/config").await.json()["input"][0]["dims"], json!([8, 8, 1]));
    let index = post(&server, "/v2/repository/index", "application/json", "{}").await.json();
    assert_eq!(index[0]["state"], "READY");
    let missing = get(&server, "/v2/models/cats").await;
    assert_eq!((missing.status.as_u16(), missing.error().as_str()), (404, "there is no model \"cats\""));
    let version = get(&server, "/v2/models/digits/versions/7").await;
    assert_eq!((version.status.as_u16(), version.error().as_str()), (404, "model \"digits\" has no version \"7\""));
}

#[tokio::test]
async fn numbers_are_those_of_the_library() {
    let server = server();
    let expected = Classifier::open(run()).unwrap().outcome(&pixels(3)).probabilities;
    let answer = infer(&server, &json!({"id": "seven", "inputs": [tensor(3)]})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(
        (&answer["id"], &answer["model_name"], &answer["model_version"]),
        (&json!("seven"), &json!("digits"), &json!("1"))
    );
    let output = &answer["outputs"][0];
    assert_eq!((&output["datatype"], &output["shape"]), (&json!("FP32"), &json!([3, 10])));
    let numbers: Vec<f32> = serde_json::from_value(output["data"].clone()).unwrap();
    assert_eq!(numbers, expected);
    let mut input = tensor(3);
    input["data"].take();
    input.as_object_mut().unwrap().remove("data");
    input["parameters"] = json!({"binary_data_size": 192});
    let request =
        json!({"inputs": [input], "parameters": {"binary_data_output": true}, "outputs": [{"name": "probabilities"}]});
    let answer = infer_binary(&server, &request, &pixels(3)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let length: usize = answer.headers[LENGTH].to_str().unwrap().parse().unwrap();
    let head: Value = serde_json::from_slice(&answer.body[..length]).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 120);
    let numbers: Vec<f32> =
        answer.body[length..].as_chunks::<4>().0.iter().map(|&four| f32::from_le_bytes(four)).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test]
async fn encoded_pictures_and_pixels_of_any_size() {
    let server = server();
    let picture = png(30, 5);
    let plain = post(&server, "/predict?top=10", "image/png", picture.clone()).await.json();
    let likeliest = plain["results"][0]["predictions"][0].clone();
    let length = (picture.len() as u32).to_le_bytes();
    let binary = [&length[..], &picture, &length, &picture].concat();
    let request = json!({
        "inputs": [{"name": "images", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": binary.len()}}],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
    });
    let answer = infer_binary(&server, &request, &binary).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let output = answer.json()["outputs"][0].clone();
    assert_eq!((&output["datatype"], &output["shape"]), (&json!("BYTES"), &json!([2, 2])));
    let first = output["data"][0].as_str().unwrap();
    let parts: Vec<&str> = first.split(':').collect();
    let probability = likeliest["probability"].as_f64().unwrap();
    assert!((parts[0].parse::<f64>().unwrap() - probability).abs() < 1e-5, "{first}");
    assert_eq!(parts[2], likeliest["class"]);
    assert_eq!(output["data"][0], output["data"][2]);
    // The same pixels without a file around them.
    let shown = percept::image::decode(&picture, 1).unwrap().pixels;
    let request = json!({"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 30, 30, 1], "data": shown}],
                         "outputs": [{"name": "probabilities", "parameters": {"classification": 1}}]});
    assert_eq!(infer(&server, &request).await.json()["outputs"][0]["data"][0], first);
    // One that is none: the request fails, and says which.
    let bad = b"\x01\0\0\0x".to_vec();
    let binary = [&length[..], &picture, &bad].concat();
    let request = json!({"inputs": [{"name": "images", "datatype": "BYTES", "shape": [2],
                                     "parameters": {"binary_data_size": binary.len()}}]});
    let answer = infer_binary(&server, &request, &binary).await;
    assert_eq!((answer.status.as_u16(), answer.error().as_str()), (422, "picture 1: not an image: no known format"));
}

/// Pictures of all batches.
fn executed(statistics: &Value) -> u64 {
    let number = |value: &Value| value.as_u64().expect("a number");
    let pictures = |batch: &Value| number(&batch["batch_size"]) * number(&batch["compute_infer"]["count"]);
    statistics["batch_stats"].as_array().expect("batches").iter().map(pictures).sum()
}

#[tokio::test]
async fn statistics_count_requests_pictures_and_batches() {
    let server = server();
    infer(&server, &json!({"inputs": [tensor(3)]})).await;
    infer(&server, &json!({"inputs": [tensor(1)]})).await;
    assert_eq!(infer(&server, &json!({"inputs": []})).await.status, 400);
    for path in ["/v2/models/stats", "/v2/models/digits/stats", "/v2/models/digits/versions/1/stats"] {
        let found = get(&server, path).await.json()["model_stats"][0].clone();
        assert_eq!(
            (&found["name"], &found["version"], &found["inference_count"]),
            (&json!("digits"), &json!("1"), &json!(4))
        );
        assert_eq!(found["inference_stats"]["success"]["count"], 2);
        assert_eq!(found["inference_stats"]["fail"]["count"], 1);
        assert!(found["inference_stats"]["success"]["ns"].as_u64().unwrap() > 0);
        assert_eq!(executed(&found), 4);
    }
    // Pictures that come another way count alike: each execution has its inferences.
    assert_eq!(post(&server, "/predict", "image/png", png(8, 0)).await.status, 200);
    let found = get(&server, "/v2/models/digits/stats").await.json()["model_stats"][0].clone();
    assert_eq!((&found["inference_count"], executed(&found)), (&json!(5), 5));
    assert_eq!(found["inference_stats"]["success"]["count"], 3);
}
