//! Names of parameters in files that name them otherwise than timm.

use super::Tensors;
use crate::model::Graph;

/// Renames the tensors of a file that names them as the PyTorch port of EfficientNet, which counts its blocks through
/// (`_blocks.0._depthwise_conv`), or as torchvision's MobileNetV3 and ConvNeXt.
pub(super) fn translate(tensors: &mut Tensors, graph: &Graph) {
    let blocks = blocks_of(graph);
    let rename = |name: &str| match graph.name.as_str() {
        "mobilenet_v3_large" => of_mobilenet(name, &blocks),
        "convnext_tiny" => of_convnext(name),
        _ => of_port(name, &blocks),
    };
    if tensors.contains_key("_conv_stem.weight") || is_torchvision(tensors) {
        let old = std::mem::take(tensors);
        *tensors = old.into_iter().map(|(name, tensor)| (rename(&name).unwrap_or(name), tensor)).collect();
    }
}

/// Whether the names are those of torchvision's MobileNetV3 or ConvNeXt. Its ResNets are named as everybody's.
pub(super) fn is_torchvision(tensors: &Tensors) -> bool {
    tensors.contains_key("features.0.0.weight")
}

/// timm's names of the blocks in order, and whether each begins with an expansion.
fn blocks_of(graph: &Graph) -> Vec<(String, bool)> {
    let mut blocks: Vec<(String, bool)> = Vec::new();
    for spec in graph.parameters.iter().filter(|spec| spec.name.starts_with("blocks.")) {
        let block: Vec<&str> = spec.name.splitn(4, '.').take(3).collect();
        let block = block.join(".");
        if blocks.last().is_none_or(|last| last.0 != block) {
            let expands = graph.parameters.iter().any(|spec| spec.name == format!("{block}.conv_pwl.weight"));
            blocks.push((block, expands));
        }
    }
    blocks
}

/// By the PyTorch port of EfficientNet.
fn of_port(name: &str, blocks: &[(String, bool)]) -> Option<String> {
    let (layer, part) = name.rsplit_once('.')?;
    if let Some(rest) = layer.strip_prefix("_blocks.") {
        let (number, layer) = rest.split_once('.')?;
        let (block, expands) = blocks.get(number.parse::<usize>().ok()?)?;
        let layer = match (layer, expands) {
            ("_expand_conv", true) => "conv_pw",
            ("_bn0", true) => "bn1",
            ("_depthwise_conv", _) => "conv_dw",
            ("_bn1", true) => "bn2",
            ("_bn1", false) => "bn1",
            ("_project_conv", true) => "conv_pwl",
            ("_project_conv", false) => "conv_pw",
            ("_bn2", true) => "bn3",
            ("_bn2", false) => "bn2",
            _ => return None,
        };
        return Some(format!("{block}.{layer}.{part}"));
    }
    let layer = match layer {
        "_conv_stem" => "conv_stem",
        "_bn0" => "bn1",
        "_conv_head" => "conv_head",
        "_bn1" => "bn2",
        "_fc" => "classifier",
        _ => return None,
    };
    Some(format!("{layer}.{part}"))
}

/// By torchvision's MobileNetV3. A block's parts are counted: one that expands, where it does, one that looks around, one that
/// weighs channels, where it does (its layers are called `fc1` and `fc2`), and one that narrows.
fn of_mobilenet(name: &str, blocks: &[(String, bool)]) -> Option<String> {
    let (layer, part) = name.rsplit_once('.')?;
    let whole = match layer {
        "features.0.0" => "conv_stem",
        "features.0.1" => "bn1",
        "features.16.0" => "blocks.6.0.conv",
        "features.16.1" => "blocks.6.0.bn1",
        "classifier.0" => "conv_head",
        "classifier.3" => "classifier",
        _ => "",
    };
    if !whole.is_empty() {
        return Some(format!("{whole}.{part}"));
    }
    let (number, rest) = layer.strip_prefix("features.")?.split_once(".block.")?;
    let (block, expands) = blocks.get(number.parse::<usize>().ok()?.checked_sub(1)?)?;
    let (step, kind) = rest.split_once('.')?;
    let (step, around) = (step.parse::<usize>().ok()?, usize::from(*expands));
    let layer = match (kind, expands) {
        ("fc1", _) => "se.conv_reduce",
        ("fc2", _) => "se.conv_expand",
        ("0", true) if step < around => "conv_pw",
        ("1", true) if step < around => "bn1",
        ("0", _) if step == around => "conv_dw",
        ("1", true) if step == around => "bn2",
        ("1", false) if step == around => "bn1",
        ("0", true) => "conv_pwl",
        ("1", true) => "bn3",
        ("0", false) => "conv_pw",
        ("1", false) => "bn2",
        _ => return None,
    };
    Some(format!("{block}.{layer}.{part}"))
}

/// By torchvision's ConvNeXt, which counts stages and what makes maps smaller between them together.
fn of_convnext(name: &str) -> Option<String> {
    for (old, new) in [("classifier.0.", "head.norm."), ("classifier.2.", "head.fc."), ("features.0.", "stem.")] {
        if let Some(part) = name.strip_prefix(old) {
            return Some(format!("{new}{part}"));
        }
    }
    let (number, rest) = name.strip_prefix("features.")?.split_once('.')?;
    let (stage, between) = (number.parse::<usize>().ok()? / 2, number.parse::<usize>().ok()? % 2 == 0);
    if between {
        return Some(format!("stages.{stage}.downsample.{rest}"));
    }
    let (block, rest) = rest.split_once('.')?;
    let rest = match rest.rsplit_once('.') {
        None if rest == "layer_scale" => "gamma".to_string(),
        Some(("block.0", part)) => format!("conv_dw.{part}"),
        Some(("block.2", part)) => format!("norm.{part}"),
        Some(("block.3", part)) => format!("mlp.fc1.{part}"),
        Some(("block.5", part)) => format!("mlp.fc2.{part}"),
        _ => return None,
    };
    Some(format!("stages.{stage}.blocks.{block}.{rest}"))
}
