//! Every word of the page, in both languages: one struct, so that none can be missing in one of them. Braces stand for
//! what is filled in. Knows no figures and no HTML.

use serde::Serialize;

use super::language::Language;

/// The words of one language.
pub struct Words {
    /// As `lang` names it.
    pub tag: &'static str,
    /// The other language, by its own name.
    pub other: &'static str,
    pub skip: &'static str,
    pub recognise: &'static str,
    pub about: &'static str,
    pub models: &'static str,

    pub question: &'static str,
    /// `{model}`, `{classes}`.
    pub tells: &'static str,
    /// `{model}`, `{count}`, `{classes}`.
    pub tells_many: &'static str,
    /// `{percent}`, `{images}`, `{split}`.
    pub was_right: &'static str,
    pub and: &'static str,
    pub comma: &'static str,

    pub draw: &'static str,
    /// `{classes}`.
    pub draw_hint: &'static str,
    pub draw_here: &'static str,
    pub canvas: &'static str,
    pub canvas_keys: &'static str,
    pub undo: &'static str,
    pub clear: &'static str,
    pub answer_here: &'static str,

    pub upload: &'static str,
    pub choose: &'static str,
    pub photograph: &'static str,
    pub or_drop: &'static str,
    pub privacy: &'static str,
    pub privacy_collects: &'static str,
    pub submit: &'static str,
    pub no_script: &'static str,
    pub formats: &'static str,

    pub answers: &'static str,
    pub clear_all: &'static str,
    pub unknown: &'static str,
    pub unknown_note: &'static str,
    pub nearest: &'static str,
    pub why: &'static str,
    pub why_note: &'static str,
    pub why_note_votes: &'static str,
    pub invert: &'static str,
    pub wrong: &'static str,
    pub correct_title: &'static str,
    pub correct_class: &'static str,
    pub correct_choose: &'static str,
    pub correct_other: &'static str,
    pub correct_note: &'static str,
    pub keep: &'static str,
    pub cancel: &'static str,
    pub likeliest: &'static str,

    pub camera: &'static str,
    pub shoot: &'static str,

    pub samples: &'static str,
    pub samples_note: &'static str,
    pub no_samples: &'static str,
    pub all_classes: &'static str,

    pub token_title: &'static str,
    pub token_note: &'static str,
    pub token: &'static str,
    pub token_send: &'static str,
    pub token_wrong: &'static str,

    pub accuracy: &'static str,
    /// `{images}`, `{low}`, `{high}`.
    pub accuracy_test: &'static str,
    /// `{images}`, `{low}`, `{high}`.
    pub accuracy_validation: &'static str,
    pub mean_precision_head: &'static str,
    pub mean_precision: &'static str,
    /// `{low}`, `{high}`.
    pub mean_precision_interval: &'static str,
    pub no_accuracy: &'static str,
    pub test: &'static str,
    pub validation: &'static str,
    pub confusion: &'static str,
    /// `{split}`.
    pub confusion_note: &'static str,
    /// `{shown}`, `{count}`.
    pub confusion_part: &'static str,
    pub confusion_whole: &'static str,
    pub confusion_too_many: &'static str,
    pub no_run: &'static str,
    pub actual: &'static str,
    pub taken_for: &'static str,
    /// `{count}`.
    pub others: &'static str,
    /// `{actual}`, `{taken}`, `{times}`, `{total}`.
    pub cell: &'static str,
    pub pairs: &'static str,
    pub times: &'static str,
    pub share: &'static str,
    pub no_mistakes: &'static str,
    pub classes: &'static str,
    pub classes_note: &'static str,
    pub class: &'static str,
    pub found: &'static str,
    pub precise: &'static str,
    pub images: &'static str,

    pub card: &'static str,
    pub architecture: &'static str,
    pub input: &'static str,
    pub grey: &'static str,
    pub colour: &'static str,
    pub preprocessing: &'static str,
    pub stretch: &'static str,
    pub pad: &'static str,
    pub crop: &'static str,
    pub normalised: &'static str,
    pub mirrored: &'static str,
    pub parameters: &'static str,
    pub multiply_adds: &'static str,
    pub data: &'static str,
    pub fingerprint: &'static str,
    pub calibration: &'static str,
    /// `{temperature}`.
    pub calibrated: &'static str,
    pub not_calibrated: &'static str,
    pub unknown_pictures: &'static str,
    /// `{percent}`.
    pub rejects: &'static str,
    pub rejects_none: &'static str,
    pub version: &'static str,
    pub trained: &'static str,
    pub made_with: &'static str,
    pub not_found: &'static str,
    pub back: &'static str,
    pub remove: &'static str,
    /// What the page's programs say.
    pub script: Script,
}

/// The words that are needed after the page was sent, and of answers without a program.
#[derive(Serialize)]
pub struct Script {
    pub looking: &'static str,
    pub waiting: &'static str,
    pub milliseconds: &'static str,
    pub said: &'static str,
    pub said_unknown: &'static str,
    pub said_several: &'static str,
    pub and: &'static str,
    pub none_of_them: &'static str,
    pub shown: &'static str,
    pub said_error: &'static str,
    pub said_many: &'static str,
    pub remove: &'static str,
    pub drawing: &'static str,
    pub photo: &'static str,
    pub pasted: &'static str,
    pub picture_of: &'static str,
    pub explained: &'static str,
    pub kept: &'static str,
    pub choose_class: &'static str,
    pub camera_denied: &'static str,
    pub camera_missing: &'static str,
    pub not_a_picture: &'static str,
    pub too_large: &'static str,
    pub unreadable: &'static str,
    pub busy: &'static str,
    pub late: &'static str,
    pub unreachable: &'static str,
    pub refused: &'static str,
    pub failed: &'static str,
    pub name_refused: &'static str,
    pub pen_down: &'static str,
    pub pen_up: &'static str,
    pub cleared: &'static str,
    pub try_again: &'static str,
}

/// The words of a language.
pub fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &ENGLISH,
        Language::Chinese => &CHINESE,
    }
}

/// A sentence with its braces filled in.
pub fn fill(sentence: &str, values: &[(&str, &dyn std::fmt::Display)]) -> String {
    let mut filled = String::with_capacity(sentence.len() + 32);
    let mut rest = sentence;
    // One pass: what is filled in may hold braces itself.
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
            filled.push_str(&value.to_string());
        }
        rest = after;
    }
    filled + rest
}

/// Names as a reader lists them.
pub fn list(names: &[&str], words: &Words) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_string(),
        [first @ .., last] => format!("{}{}{last}", first.join(words.comma), words.and),
    }
}

static ENGLISH: Words = Words {
    tag: "en",
    other: "中文",
    skip: "Skip to the content",
    recognise: "Recognise",
    about: "About the model",
    models: "Models",
    question: "What does the picture show?",
    tells: "{model} tells {classes} apart.",
    tells_many: "{model} knows {count} classes, such as {classes}.",
    was_right: " It was right on {percent} of {images} {split} pictures.",
    and: " and ",
    comma: ", ",
    draw: "Draw",
    draw_hint: "Draw one of {classes}, large, with the mouse, a pen or a finger.",
    draw_here: "Draw here",
    canvas: "Drawing area",
    canvas_keys: "By keyboard: arrow keys move the pen, Space puts it down and lifts it, Delete clears.",
    undo: "Undo",
    clear: "Clear",
    answer_here: "The answer appears here after each stroke.",
    upload: "Pictures",
    choose: "Choose pictures",
    photograph: "Take a photo",
    or_drop: "or drop them anywhere on this page, or paste one",
    privacy: "Pictures go to this server only, and none is kept.",
    privacy_collects: "Pictures go to this server only. It keeps those that you correct.",
    submit: "Recognise",
    no_script: "Choose one or more pictures and send them.",
    formats: "JPEG, PNG, WebP, BMP, GIF or TIFF",
    answers: "Answers",
    clear_all: "Clear all",
    unknown: "Unknown",
    unknown_note: "This picture is unlike all that the model has learned from, so it is probably none of its classes.",
    nearest: "If it had to be one of them:",
    why: "Show why",
    why_note: "Bright is what spoke for this answer.",
    why_note_votes: "Orange spoke for this answer, blue against it.",
    invert: "Invert",
    wrong: "Wrong?",
    correct_title: "What is it?",
    correct_class: "Right class",
    correct_choose: "Choose a class",
    correct_other: "or another name",
    correct_note: "The picture is kept on the server under this name, for the next training.",
    keep: "Keep the picture",
    cancel: "Cancel",
    likeliest: "Likeliest classes",
    camera: "Take a photo",
    shoot: "Take it",
    samples: "What it has learned from",
    samples_note: "Some of the training pictures, as the model saw them.",
    no_samples: "The folder of its training is not here, so there are no sample pictures to show.",
    all_classes: "Its classes",
    token_title: "This server asks for a token",
    token_note: "Whoever started it knows the token. It is kept until this tab is closed.",
    token: "Token",
    token_send: "Continue",
    token_wrong: "That is not the token. Check it and try again.",
    accuracy: "Accuracy",
    accuracy_test: "Right answers on {images} test pictures, which chose nothing and were measured once. For pictures of this kind in general, the 95 % interval is {low} to {high}.",
    accuracy_validation: "Right answers on {images} validation pictures; the 95 % interval is {low} to {high}. They also chose which weights were kept, so the figure flatters a little. There were no test pictures.",
    mean_precision_head: "Mean average precision",
    mean_precision: "Mean average precision on {images} {split} pictures, each of which may show several classes: how well a class's probability tells the pictures that show it from the others, averaged over all classes.",
    mean_precision_interval: " For pictures of this kind in general, the 95 % interval is {low} to {high}.",
    no_accuracy: "The model file holds no figures: it was not measured on test or validation pictures.",
    test: "test",
    validation: "validation",
    confusion: "What it takes for what",
    confusion_note: "Each row holds the {split} pictures of one class; the columns are what they were taken for. The diagonal is right.",
    confusion_part: "Shown are the {shown} classes of {count} among which most mistakes lie.",
    confusion_whole: "The whole matrix",
    confusion_too_many: "The whole matrix is too large for a page; metrics.json in the run's folder holds it.",
    no_run: "The folder of its training is not here, so its confusion matrix and figures by class cannot be shown. Serve the run's folder instead of the model file alone to see them.",
    actual: "is",
    taken_for: "taken for",
    others: "{count} others",
    cell: "{actual} taken for {taken}: {times} of {total}",
    pairs: "Most often confused",
    times: "times",
    share: "of the class",
    no_mistakes: "It made no mistake on these pictures.",
    classes: "Classes",
    classes_note: "Found: of the pictures of a class, the share that was recognised. Precise: of the answers that name it, the share that is right. The weakest first.",
    class: "class",
    found: "found",
    precise: "precise",
    images: "pictures",
    card: "Model card",
    architecture: "Architecture",
    input: "Input",
    grey: "grey",
    colour: "colour",
    preprocessing: "Preprocessing",
    stretch: "stretched to the input's size",
    pad: "scaled whole, and the rest filled with grey",
    crop: "scaled, and cut to the middle",
    normalised: "normalised inside the network",
    mirrored: "seen mirrored as well",
    parameters: "Parameters",
    multiply_adds: "Multiply-adds a picture",
    data: "Training data",
    fingerprint: "Data's fingerprint",
    calibration: "Calibration",
    calibrated: "temperature {temperature}, fitted to pictures that were held out",
    not_calibrated: "none: probabilities are as the network gives them",
    unknown_pictures: "Unknown pictures",
    rejects: "are told; about {percent} of known ones are called unknown too",
    rejects_none: "are not told: every picture gets one of the classes",
    version: "Version",
    trained: "Trained",
    made_with: "Made with",
    not_found: "There is no such page or model here.",
    back: "Back to the start",
    remove: "Remove",
    script: Script {
        looking: "Looking…",
        waiting: "The server is busy; waiting for a place…",
        milliseconds: "{n} ms",
        said: "{file}: {class}, {percent}",
        said_unknown: "{file}: unknown",
        said_several: "{file}: {class}",
        and: ", ",
        none_of_them: "none of the classes",
        shown: "in the picture",
        said_error: "{file}: {error}",
        said_many: "{n} pictures answered",
        remove: "Remove {file}",
        drawing: "drawing",
        photo: "photo",
        pasted: "pasted picture",
        picture_of: "Your picture {file}",
        explained: "Your picture {file}, with what spoke for the answer drawn over it",
        kept: "Kept as “{class}”. Thank you.",
        choose_class: "Choose a class or write a name.",
        camera_denied: "The browser was not allowed to use the camera. Allow it in the address bar, or choose a picture instead.",
        camera_missing: "No camera was found. Choose a picture instead.",
        not_a_picture: "This is not a picture that can be read here. JPEG, PNG, WebP, BMP, GIF and TIFF can.",
        too_large: "This picture is larger than the server accepts. Send a smaller copy.",
        unreadable: "This picture cannot be read; the file may be damaged. Open it elsewhere and save it again.",
        busy: "The server has too much to do. Try again in a moment.",
        late: "The server took too long. Try again, or send a smaller copy.",
        unreachable: "The server cannot be reached. Is it still running?",
        refused: "The server does not accept the token any more. Reload the page.",
        failed: "The server could not answer.",
        name_refused: "This name cannot be used. Use letters, digits, spaces, - and _.",
        pen_down: "Pen down",
        pen_up: "Pen up",
        cleared: "Cleared",
        try_again: "Try again",
    },
};

static CHINESE: Words = Words {
    tag: "zh-CN",
    other: "English",
    skip: "跳到正文",
    recognise: "识别",
    about: "关于模型",
    models: "模型",
    question: "图片里是什么？",
    tells: "{model} 能分辨 {classes}。",
    tells_many: "{model} 认识 {count} 个类别，例如 {classes}。",
    was_right: "它在 {images} 张{split}图片上的正确率是 {percent}。",
    and: " 和 ",
    comma: "、",
    draw: "手写",
    draw_hint: "用鼠标、触控笔或手指写大一些，可写：{classes}。",
    draw_here: "在这里写",
    canvas: "书写区",
    canvas_keys: "使用键盘：方向键移动画笔，空格键落笔或抬笔，Delete 键清空。",
    undo: "撤销",
    clear: "清空",
    answer_here: "每写一笔，结果就会显示在这里。",
    upload: "图片",
    choose: "选择图片",
    photograph: "拍照",
    or_drop: "也可以把图片拖到页面任意处，或直接粘贴",
    privacy: "图片只发送到本服务器，不会保存。",
    privacy_collects: "图片只发送到本服务器；只有您纠正过的图片会被保存。",
    submit: "识别",
    no_script: "选择一张或多张图片，然后发送。",
    formats: "JPEG、PNG、WebP、BMP、GIF 或 TIFF",
    answers: "结果",
    clear_all: "全部清除",
    unknown: "未知",
    unknown_note: "这张图片与模型学过的都不相像，很可能不属于任何一个类别。",
    nearest: "如果一定要选一个：",
    why: "查看依据",
    why_note: "越亮的地方，对这个结果的支持越大。",
    why_note_votes: "橙色支持这个结果，蓝色反对。",
    invert: "反色",
    wrong: "不对？",
    correct_title: "应该是什么？",
    correct_class: "正确的类别",
    correct_choose: "选择类别",
    correct_other: "或填写其他名称",
    correct_note: "图片会以这个名称保存在服务器上，供下次训练使用。",
    keep: "保存图片",
    cancel: "取消",
    likeliest: "最可能的类别",
    camera: "拍照",
    shoot: "拍摄",
    samples: "它学过的图片",
    samples_note: "部分训练图片，即模型训练时看到的样子。",
    no_samples: "这里没有它的训练文件夹，因此没有样例图片。",
    all_classes: "它认识的类别",
    token_title: "本服务器需要令牌",
    token_note: "启动服务器的人知道令牌。令牌只保留到关闭此标签页为止。",
    token: "令牌",
    token_send: "继续",
    token_wrong: "令牌不正确，请检查后重试。",
    accuracy: "正确率",
    accuracy_test: "在 {images} 张测试图片上测得；这些图片没有参与任何选择，只测量一次。对同类图片而言，95 % 置信区间为 {low} 至 {high}。",
    accuracy_validation: "在 {images} 张验证图片上测得，95 % 置信区间为 {low} 至 {high}。这些图片也用于选择权重，因此数字略偏高。没有测试图片。",
    mean_precision_head: "平均精度均值（mAP）",
    mean_precision: "在 {images} 张{split}图片上的平均精度均值（mAP）；每张图片可以属于多个类别。它表示各类别的概率能在多大程度上区分含有与不含该类别的图片，并对所有类别取平均。",
    mean_precision_interval: "对同类图片而言，95 % 置信区间为 {low} 至 {high}。",
    no_accuracy: "模型文件中没有评测数字：它没有在测试或验证图片上测量过。",
    test: "测试",
    validation: "验证",
    confusion: "容易混淆的类别",
    confusion_note: "每一行是一个类别的{split}图片，每一列是它们被认成的类别。对角线上是正确的。",
    confusion_part: "这里显示 {count} 个类别中错误最集中的 {shown} 个。",
    confusion_whole: "完整的混淆矩阵",
    confusion_too_many: "完整的矩阵太大，网页放不下；它在训练文件夹的 metrics.json 里。",
    no_run: "这里没有它的训练文件夹，因此无法显示混淆矩阵和各类别的数字。要看到它们，请让服务器打开训练文件夹，而不是单独的模型文件。",
    actual: "实际",
    taken_for: "被认成",
    others: "其他 {count} 类",
    cell: "{actual}被认成{taken}：{total} 张中的 {times} 张",
    pairs: "最常混淆的类别",
    times: "次数",
    share: "占该类",
    no_mistakes: "在这些图片上没有出错。",
    classes: "各个类别",
    classes_note: "找出率：该类图片中被认出的比例。准确率：被认成该类的图片中正确的比例。最弱的类别排在最前。",
    class: "类别",
    found: "找出率",
    precise: "准确率",
    images: "图片数",
    card: "模型卡",
    architecture: "结构",
    input: "输入",
    grey: "灰度",
    colour: "彩色",
    preprocessing: "预处理",
    stretch: "拉伸到输入尺寸",
    pad: "整体缩放，其余部分填灰色",
    crop: "缩放后裁取中央",
    normalised: "归一化在网络内部完成",
    mirrored: "同时查看镜像",
    parameters: "参数",
    multiply_adds: "每张图片的乘加次数",
    data: "训练数据",
    fingerprint: "数据指纹",
    calibration: "校准",
    calibrated: "温度 {temperature}，由留出的图片拟合",
    not_calibrated: "未校准：概率为网络的原始输出",
    unknown_pictures: "未知图片",
    rejects: "能够识别；已知图片中约有 {percent} 也会被判为未知",
    rejects_none: "不能识别：每张图片都会归入某个类别",
    version: "版本",
    trained: "训练日期",
    made_with: "制作工具",
    not_found: "这里没有这个页面或模型。",
    back: "回到首页",
    remove: "移除",
    script: Script {
        looking: "识别中…",
        waiting: "服务器繁忙，正在等待…",
        milliseconds: "{n} 毫秒",
        said: "{file}：{class}，{percent}",
        said_unknown: "{file}：未知",
        said_several: "{file}：{class}",
        and: "、",
        none_of_them: "没有其中任何一类",
        shown: "图中有",
        said_error: "{file}：{error}",
        said_many: "已识别 {n} 张图片",
        remove: "移除 {file}",
        drawing: "手写图",
        photo: "照片",
        pasted: "粘贴的图片",
        picture_of: "您的图片 {file}",
        explained: "您的图片 {file}，上面标出了支持这个结果的部分",
        kept: "已保存为“{class}”，谢谢。",
        choose_class: "请选择类别或填写名称。",
        camera_denied: "浏览器未获准使用摄像头。请在地址栏中允许，或改为选择图片。",
        camera_missing: "没有找到摄像头，请改为选择图片。",
        not_a_picture: "这不是能读取的图片。可以使用 JPEG、PNG、WebP、BMP、GIF 和 TIFF。",
        too_large: "图片超过了服务器允许的大小，请发送较小的副本。",
        unreadable: "无法读取这张图片，文件可能已损坏。请用其他软件打开并重新保存。",
        busy: "服务器太忙，请稍后再试。",
        late: "服务器用时过长，请重试，或发送较小的副本。",
        unreachable: "无法连接服务器，它还在运行吗？",
        refused: "服务器不再接受这个令牌，请重新载入页面。",
        failed: "服务器未能给出结果。",
        name_refused: "不能使用这个名称。请使用文字、数字、空格、- 和 _。",
        pen_down: "落笔",
        pen_up: "抬笔",
        cleared: "已清空",
        try_again: "重试",
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_filled_once() {
        assert_eq!(fill("{a} of {b}, {a}.", &[("a", &"{b}"), ("b", &2)]), "{b} of 2, {b}.");
        assert_eq!(fill("open {a", &[("a", &1)]), "open 1");
    }

    #[test]
    fn names_are_listed_as_each_language_does() {
        assert_eq!(list(&["ants", "bees"], &ENGLISH), "ants and bees");
        assert_eq!(list(&["a", "b", "c"], &ENGLISH), "a, b and c");
        assert_eq!(list(&["蚂蚁", "蜜蜂"], &CHINESE), "蚂蚁 和 蜜蜂");
        assert_eq!(list(&[], &ENGLISH), "");
    }

    #[test]
    fn both_languages_fill_in_the_same() {
        let braces = |text: &Script| {
            let value = serde_json::to_value(text).unwrap();
            let fields = value.as_object().unwrap().clone();
            fields.into_iter().map(|(name, text)| {
                let text = text.as_str().unwrap().to_string();
                let mut inside: Vec<String> =
                    text.split('{').skip(1).map(|part| part.split('}').next().unwrap().to_string()).collect();
                inside.sort();
                (name, inside)
            })
        };
        assert_eq!(
            braces(&ENGLISH.script).collect::<Vec<_>>(),
            braces(&CHINESE.script).collect::<Vec<_>>(),
            "placeholders"
        );
    }
}
