//! The module graph of every crate: siblings import one another in one direction only, at every
//! level of the module tree. A parent and its children may name each other.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's path below its crate's root; the root's is empty.
type Module = Vec<String>;

/// Imports between siblings, by their parent module.
type Edges = BTreeMap<Module, BTreeMap<String, BTreeSet<String>>>;

#[test]
fn modules_import_one_another_in_one_direction() {
    let mut circles = Vec::new();
    for source in sources_of_crates() {
        for (parent, edges) in edges(&modules(&source)) {
            let below = source.join(parent.join("/"));
            circles.extend(
                circle(&edges)
                    .map(|members| format!("{}: {}", below.display(), members.join(" -> "))),
            );
        }
    }
    assert!(
        circles.is_empty(),
        "move what sits in the wrong module:\n{}",
        circles.join("\n")
    );
}

#[test]
fn a_circle_is_found_at_every_level_and_in_every_form_of_import() {
    let text = |name: &str, text: &str| {
        let module = name.split("::").map(str::to_owned).collect::<Module>();
        (module, imports(text))
    };
    let tree = BTreeMap::from([
        text("a", "use crate::{b::{self, Thing}, c};"),
        text(
            "b",
            "mod inner; fn f() -> crate::c::Thing { super::a::f() }",
        ),
        text("b::inner", "use super::other; // use crate::a;"),
        text("b::other", "fn f() { \"super::inner\"; }"),
        text("c", "#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n"),
    ]);
    let edges = edges(&tree);
    assert_eq!(circle(&edges[&vec![]]).unwrap(), ["a", "b", "a"]);
    assert_eq!(circle(&edges[&vec!["b".to_owned()]]), None);
}

/// `src` of each member that has a library or a program of several modules.
fn sources_of_crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sources: Vec<_> = fs::read_dir(root)
        .expect("the workspace")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("Cargo.toml").exists() && path.join("src").is_dir())
        .map(|path| path.join("src"))
        .collect();
    assert!(
        sources.len() >= 8,
        "crates are not where they were: {sources:?}"
    );
    sources
}

/// The modules below a crate's `src`, and the paths that each imports. Programs in `bin` are not
/// modules, and tests may import what they like.
fn modules(source: &Path) -> BTreeMap<Module, Vec<Vec<String>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                if path != source.join("bin") {
                    folders.push(path);
                }
                continue;
            }
            let below = path.strip_prefix(source).expect("below src");
            let mut module: Module = below
                .with_extension("")
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            let last = module.last().cloned().unwrap_or_default();
            let is_test = last == "tests" || last.ends_with("_tests") || last == "properties";
            if is_test || path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            if last == "mod" || module == ["lib"] || module == ["main"] {
                module.pop();
            }
            let text = fs::read_to_string(&path).expect("a source file");
            found
                .entry(module)
                .or_insert_with(Vec::new)
                .extend(imports(&text));
        }
    }
    found
}

/// The edges between siblings that the imports of `modules` draw.
fn edges(modules: &BTreeMap<Module, Vec<Vec<String>>>) -> Edges {
    let mut edges = Edges::new();
    for (from, imports) in modules {
        for import in imports {
            let to = resolve(from, import, modules);
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(one), Some(other)) = (from.get(shared), to.get(shared)) {
                let siblings = edges.entry(from[..shared].to_vec()).or_default();
                siblings
                    .entry(one.clone())
                    .or_default()
                    .insert(other.clone());
            }
        }
    }
    edges
}

/// The innermost module that a path names, seen from `from`.
fn resolve(from: &Module, path: &[String], modules: &BTreeMap<Module, Vec<Vec<String>>>) -> Module {
    let mut module = from.clone();
    for (index, part) in path.iter().enumerate() {
        match part.as_str() {
            "crate" if index == 0 => module.clear(),
            "self" => {}
            "super" => {
                module.pop();
            }
            name => {
                module.push(name.to_owned());
                let is_module = modules.keys().any(|each| each.starts_with(&module));
                if !is_module {
                    module.pop();
                    break;
                }
            }
        }
    }
    module
}

/// Every path of the text that begins with `crate` or `super`, groups unfolded.
fn imports(text: &str) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = ["crate", "super"].contains(&tokens[at].as_str());
        if begins && tokens.get(at + 1).is_some_and(|next| next == "::") {
            at = unfold(&tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path from `at`, and gives the place behind it.
fn unfold(
    tokens: &[String],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" if path.len() > prefix.len() || !prefix.is_empty() => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = unfold(tokens, at, &path, found);
                    if tokens.get(at).is_some_and(|token| token == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            name if is_name(name) || name == "*" => {
                path.push(name.to_owned());
                at += 1;
                match tokens.get(at).map(String::as_str) {
                    Some("::") if tokens.get(at + 1).is_some_and(|next| next != "<") => at += 1,
                    Some("as") => {
                        at += 2;
                        break;
                    }
                    _ => break,
                }
            }
            _ => {
                at += 1;
                break;
            }
        }
    }
    found.push(path);
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names and punctuation, without comments, string literals and modules of tests.
fn tokens(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let mut tokens = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let length = if rest.starts_with("//") {
                break;
            } else if first == '"' {
                let inside = rest[1..].replace("\\\\", "__").replace("\\\"", "__");
                inside.find('"').map_or(rest.len(), |end| end + 2)
            } else if is_name(rest) {
                let end = rest.find(|each: char| !each.is_alphanumeric() && each != '_');
                end.unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let token = &rest[..length];
            if !token.trim().is_empty() && first != '"' {
                tokens.push(token.to_owned());
            }
            rest = &rest[length..];
        }
    }
    tokens
}

/// A path from a module back to itself, if any; it begins and ends with that module.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    edges.keys().find_map(|start| {
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            for next in edges.get(way.last()?).into_iter().flatten() {
                let longer = [way.clone(), vec![next.clone()]].concat();
                if next == start {
                    return Some(longer);
                }
                if seen.insert(next.clone()) {
                    ways.push(longer);
                }
            }
        }
        None
    })
}
