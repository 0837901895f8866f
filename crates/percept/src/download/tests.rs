use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use super::*;

const BY_HAND: &str = "put http://official.example/file into the folder";

/// How the little server behaves.
#[derive(Clone, Default)]
struct Behaviour {
    content: Vec<u8>,
    /// The first answers end after as many bytes.
    cut_after: Vec<usize>,
    ranges: bool,
    etag: &'static str,
    status: Option<u16>,
    /// The first request is sent on to here.
    redirect: bool,
}

/// A server on this machine; the second value lists the requests it saw: path, range, condition.
fn serve(behaviour: Behaviour) -> (String, Arc<Mutex<Vec<[String; 3]>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let lines: Vec<String> = BufReader::new(&stream)
                .lines()
                .map_while(|line| line.ok().filter(|line| !line.is_empty()))
                .map(|line| line.to_string())
                .collect();
            let header = |name: &str| {
                let found = lines.iter().find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    key.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
                });
                found.unwrap_or_default()
            };
            let path = lines[0].split(' ').nth(1).unwrap().to_string();
            log.lock().unwrap().push([path.clone(), header("range"), header("if-range")]);
            let _ = answer(&mut stream, &behaviour, number, &path, &header("range"), &header("if-range"));
        }
    });
    (address, seen)
}

fn answer(
    out: &mut impl Write,
    behaviour: &Behaviour,
    number: usize,
    path: &str,
    range: &str,
    condition: &str,
) -> io::Result<()> {
    if behaviour.redirect && path == "/file" {
        return write!(out, "HTTP/1.1 302 Found\r\nLocation: /moved\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if let Some(status) = behaviour.status {
        return write!(out, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let total = behaviour.content.len();
    let from: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
    let same = condition.is_empty() || condition == behaviour.etag;
    let from = if behaviour.ranges && same { from } else { 0 };
    if from >= total && total > 0 {
        return write!(
            out,
            "HTTP/1.1 416 No\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    write!(out, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", total - from)?;
    if from > 0 {
        write!(out, "Content-Range: bytes {from}-{}/{total}\r\n", total - 1)?;
    }
    if !behaviour.etag.is_empty() {
        write!(out, "ETag: {}\r\n", behaviour.etag)?;
    }
    write!(out, "\r\n")?;
    let until = behaviour.cut_after.get(number).map_or(total, |&cut| (from + cut).min(total));
    out.write_all(&behaviour.content[from..until])?;
    out.flush()
}

fn content() -> Vec<u8> {
    (0..300_000u32).map(|value| (value * 7 % 251) as u8).collect()
}

fn md5(bytes: &[u8]) -> String {
    hexadecimal(&Md5::digest(bytes))
}

fn fetch(folder: &Path, urls: &[String], md5: &str) -> (Result<PathBuf>, Vec<(u64, Option<u64>)>) {
    let events = Mutex::new(Vec::new());
    let report = |done, total| events.lock().unwrap().push((done, total));
    let request = Request {
        name: "file",
        urls: urls.to_vec(),
        by_hand: BY_HAND.into(),
        bytes: Some(300_000),
        checksum: Checksum::Md5(md5.into()),
        folder,
    };
    let result = request.fetch(&report);
    (result, events.into_inner().unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}

#[test]
fn a_file_arrives_whole_with_progress_and_over_a_redirect() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("new/folder");
    let (address, seen) = serve(Behaviour { content: content(), redirect: true, ..Default::default() });
    let (result, events) = fetch(&folder, &[format!("{address}/file")], &md5(&content()));
    assert_eq!(fs::read(result.unwrap()).unwrap(), content());
    assert_eq!(events.last(), Some(&(300_000, Some(300_000))));
    assert_eq!(names(&folder), ["file"]);
    assert_eq!(seen.lock().unwrap().iter().map(|request| request[0].clone()).collect::<Vec<_>>(), ["/file", "/moved"]);
}

#[test]
fn what_was_cut_off_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let behaviour = Behaviour {
        content: content(),
        cut_after: vec![1000, 2000],
        ranges: true,
        etag: "\"a\"",
        ..Default::default()
    };
    let (address, seen) = serve(behaviour);
    let (result, _) = fetch(folder.path(), &[format!("{address}/file")], &md5(&content()));
    assert_eq!(fs::read(result.unwrap()).unwrap(), content());
    let ranges: Vec<String> = seen.lock().unwrap().iter().map(|request| request[1].clone()).collect();
    assert_eq!(ranges, ["", "bytes=1000-", "bytes=3000-"]);
    assert!(seen.lock().unwrap()[1..].iter().all(|request| request[2] == "\"a\""));
}

#[test]
fn a_later_run_goes_on_or_starts_again() {
    for (ranges, old, begins_again) in [(true, "\"a\"", false), (true, "\"old\"", true), (false, "\"a\"", true)] {
        let folder = tempfile::tempdir().unwrap();
        let (address, seen) = serve(Behaviour { content: content(), ranges, etag: "\"a\"", ..Default::default() });
        let url = format!("{address}/file");
        // What an earlier run left: good bytes of this version, or anything of another.
        let left = if begins_again { vec![9; 5000] } else { content()[..5000].to_vec() };
        fs::write(folder.path().join("file.part"), left).unwrap();
        fs::write(folder.path().join("file.part.from"), format!("{url}\n{old}\n")).unwrap();
        let (result, _) = fetch(folder.path(), &[url], &md5(&content()));
        assert_eq!(fs::read(result.unwrap()).unwrap(), content(), "{ranges} {old}");
        let request = seen.lock().unwrap()[0].clone();
        assert_eq!(request, ["/file".to_string(), "bytes=5000-".into(), old.into()]);
        assert_eq!(names(folder.path()), ["file"]);
    }
}

#[test]
fn a_part_that_is_complete_is_only_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = serve(Behaviour { content: content(), ranges: true, ..Default::default() });
    let url = format!("{address}/file");
    fs::write(folder.path().join("file.part"), content()).unwrap();
    fs::write(folder.path().join("file.part.from"), format!("{url}\n\n")).unwrap();
    let (result, _) = fetch(folder.path(), &[url], &md5(&content()));
    assert_eq!(fs::read(result.unwrap()).unwrap(), content());
}

#[test]
fn a_wrong_checksum_removes_what_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = serve(Behaviour { content: content(), ..Default::default() });
    let url = format!("{address}/file");
    let (result, _) = fetch(folder.path(), std::slice::from_ref(&url), "0123");
    let error = result.unwrap_err();
    let found = md5(&content());
    let target = folder.path().join("file");
    let expected =
        format!("{} is damaged: what {url} sent has MD5 {found}, expected 0123; it was removed", target.display());
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, Error::Damaged { .. }));
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_failure_says_which_file_to_put_where() {
    let folder = tempfile::tempdir().unwrap();
    let (address, seen) = serve(Behaviour { status: Some(404), ..Default::default() });
    let (result, _) = fetch(folder.path(), &[format!("{address}/file")], "");
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot download {address}/file: the server answered 404"));
    assert_eq!(error.hint(), Some(BY_HAND));
    assert_eq!(seen.lock().unwrap().len(), 1, "a refusal is not asked again");
}

#[test]
fn the_next_address_is_tried_and_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let broken = Behaviour { content: vec![9; 300_000], cut_after: vec![50; 3], ..Default::default() };
    let ((first, _), (second, seen)) =
        (serve(broken), serve(Behaviour { content: content(), ranges: true, ..Default::default() }));
    let urls = [format!("{first}/file"), format!("{second}/file")];
    let (result, _) = fetch(folder.path(), &urls, &md5(&content()));
    assert_eq!(fs::read(result.unwrap()).unwrap(), content());
    assert_eq!(seen.lock().unwrap()[0][1], "");
}

#[test]
fn an_endless_answer_and_a_dead_address_are_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = serve(Behaviour { content: vec![0; 700_000], ..Default::default() });
    let (result, _) = fetch(folder.path(), &[format!("{address}/file")], "");
    assert_eq!(
        result.unwrap_err().to_string(),
        format!("cannot download {address}/file: it sends more than 600000 bytes")
    );
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (result, _) = fetch(folder.path(), &[format!("http://{free}/file")], "");
    let text = result.unwrap_err().to_string();
    assert!(text.starts_with(&format!("cannot download http://{free}/file: no connection: ")), "{text}");
}

#[test]
fn two_programs_do_not_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let held = File::create(folder.path().join("file.part")).unwrap();
    held.lock().unwrap();
    let (result, _) = fetch(folder.path(), &["http://127.0.0.1:9/file".into()], "");
    let text = result.unwrap_err().to_string();
    assert_eq!(text, "cannot download http://127.0.0.1:9/file: another program is downloading it");
}
