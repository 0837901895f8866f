//! `percept serve` as a process, seen from outside: encrypted, and by its log.
#![cfg(unix)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    command, picture,
    server::{Server, ask, train},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;

/// Writes a certificate that nobody else signed, and its key, and gives what trusts it alone.
fn certificate(folder: &Path) -> Arc<ClientConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).expect("a certificate");
    fs::write(folder.join("chain.pem"), made.cert.pem()).expect("writes");
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("writes");
    let mut trusted = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).expect("a certificate");
    trusted.add(certificate).expect("is trusted");
    let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions");
    Arc::new(client.with_root_certificates(trusted).with_no_client_auth())
}

/// The status of a request over TLS; none where the certificate is not the trusted one.
fn ask_encrypted(server: &Server, client: &Arc<ClientConfig>, image: &[u8]) -> Option<u16> {
    let stream = server.connect().into_inner();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(client.clone(), name).expect("a client");
    let mut connection = BufReader::new(StreamOwned::new(connection, stream));
    ask(&mut connection, "POST", "/predict", image).map(|(status, _)| status)
}

#[test]
fn encrypted_connections_and_a_certificate_that_is_renewed() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    train(folder, "run", "1");
    let image = fs::read(picture(&folder.join("a.png"), 8, |y, x| (y * 30 + x) as u8)).expect("reads");
    let client = certificate(folder);
    let server = Server::start(folder, &["run", "--tls-cert", "chain.pem", "--tls-key", "key.pem"]);
    assert_eq!(ask_encrypted(&server, &client, &image), Some(200));
    // Who does not encrypt is not answered.
    let mut plain = TcpStream::connect(&server.address).expect("connects");
    plain.write_all(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("writes");
    plain.set_read_timeout(Some(Duration::from_secs(60))).expect("sets");
    let mut answer = Vec::new();
    _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // A new pair is used once the server is told of it.
    let renewed = certificate(folder);
    assert_eq!(ask_encrypted(&server, &renewed, &image), None);
    server.signal("HUP");
    let begin = Instant::now();
    while ask_encrypted(&server, &renewed, &image) != Some(200) {
        assert!(begin.elapsed() < Duration::from_secs(60), "the new certificate is not used");
    }
    assert_eq!(ask_encrypted(&server, &client, &image), None);
    server.signal("INT");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn every_line_of_the_log_can_be_read_by_programs_and_names_its_request() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    train(folder, "run", "1");
    let image = fs::read(picture(&folder.join("a.png"), 8, |y, x| (y * 30 + x) as u8)).expect("reads");
    let arguments = ["serve", "run", "--address", "127.0.0.1:0", "--log-format", "json", "--collect", "kept"];
    let mut process = command(folder, &arguments).stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
    let mut next = || -> serde_json::Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let ready = next();
    assert_eq!(ready["message"], "ready");
    let address = ready["address"].as_str().expect("an address").rsplit('/').next().expect("a place").to_string();
    // Where a folder should be is a file: nothing can be kept.
    fs::remove_dir(folder.join("kept")).expect("removes");
    fs::write(folder.join("kept"), "in the way").expect("writes");
    let cases = [
        ("/predict?secret=1", 200, "INFO", ["answered"].as_slice()),
        ("/nowhere", 404, "INFO", &["answered"]),
        ("/collect?class=cat", 507, "ERROR", &["a picture could not be kept", "answered"]),
    ];
    for (number, (path, status, level, messages)) in cases.into_iter().enumerate() {
        let mut connection = BufReader::new(TcpStream::connect(&address).expect("connects"));
        let id = format!("mine-{number}");
        let head = format!("{path} HTTP/1.1\r\nX-Request-Id: {id}\r\nX-Rest:");
        assert_eq!(ask(&mut connection, "POST", &head, &image).expect("answers").0, status, "{path}");
        for message in messages {
            let line = next();
            assert_eq!(
                (&line["message"], &line["request"], &line["level"]),
                (&(*message).into(), &id.as_str().into(), &level.into())
            );
            assert!(!line.to_string().contains("secret"), "{line}");
        }
    }
    process.kill().expect("ends");
    process.wait().expect("has ended");
}
