//! Names of parameters in files that name them otherwise than timm.

use super::Tensors;
use crate::model::Graph;

/// Renames the tensors of the PyTorch port of EfficientNet that counts its blocks through (`_blocks.0._depthwise_conv`),
/// where the file has such names.
pub(super) fn translate(tensors: &mut Tensors, graph: &Graph) {
    if !tensors.contains_key("_conv_stem.weight") {
        return;
    }
    let blocks = blocks_of(graph);
    let renamed = std::mem::take(tensors).into_iter().map(|(name, tensor)| {
        let new = translated(&name, &blocks).unwrap_or(name);
        (new, tensor)
    });
    *tensors = renamed.collect();
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

fn translated(name: &str, blocks: &[(String, bool)]) -> Option<String> {
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
