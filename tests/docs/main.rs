//! The docs as a whole: every page is listed, every link leads somewhere, every command is one that a
//! test runs, and what the programs can say is explained.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod markdown;

use anyhow::{Context as _, Result, ensure};
use fovea_harness::stack::repository;
use fovea_tests::console::{Page, fence};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGES: &str = "docs/src";
const BESIDE: [&str; 3] = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
/// Languages of blocks. A command that no test can run is `text`, to set it apart from tested ones.
const LANGUAGES: [&str; 6] = ["console", "json", "mermaid", "text", "toml", "yaml"];

/// Every page of the site, by its path below the checkout.
fn pages() -> Result<Vec<String>> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                below(&path, found)?;
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    below(&repository().join(PAGES), &mut found)?;
    let mut names: Vec<String> = (found.iter())
        .map(|path| Ok(path.strip_prefix(repository())?.display().to_string()))
        .collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

fn text(path: &str) -> Result<String> {
    fs::read_to_string(repository().join(path)).with_context(|| path.to_owned())
}

/// The pages and the documents at the root.
fn all() -> Result<Vec<String>> {
    let beside = BESIDE
        .iter()
        .filter(|path| repository().join(path).exists());
    Ok(pages()?
        .into_iter()
        .chain(beside.map(|path| (*path).to_owned()))
        .collect())
}

#[test]
fn the_summary_lists_every_page_once() -> Result<()> {
    let summary = format!("{PAGES}/SUMMARY.md");
    let listed: Vec<String> = (markdown::links(&text(&summary)?).into_iter())
        .map(|(_, link)| format!("{PAGES}/{link}"))
        .collect();
    let distinct: BTreeSet<&String> = listed.iter().collect();
    assert_eq!(distinct.len(), listed.len(), "a page is listed twice");
    let pages = pages()?;
    let there: BTreeSet<&String> = pages.iter().filter(|page| **page != summary).collect();
    assert_eq!(distinct, there);
    Ok(())
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_in_it() -> Result<()> {
    let mut wrong = Vec::new();
    for page in all()? {
        let markdown = text(&page)?;
        for (line, link) in markdown::links(&markdown) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            if let Err(why) = leads_somewhere(&page, &markdown, &link) {
                wrong.push(format!("{page}:{line}: {link}: {why:#}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn leads_somewhere(page: &str, markdown: &str, link: &str) -> Result<()> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() {
        markdown.to_owned()
    } else {
        let folder = repository().join(page);
        let folder = folder.parent().context("a folder")?;
        let target = folder.join(path).canonicalize()?;
        // The site has only what is below its sources.
        let site = repository().join(PAGES).canonicalize()?;
        let leaves = page.starts_with(PAGES) && !target.starts_with(&site);
        ensure!(!leaves, "the site does not have it: name it without a link");
        if anchor.is_empty() {
            return Ok(());
        }
        fs::read_to_string(target)?
    };
    ensure!(
        markdown::anchors(&target)
            .iter()
            .any(|known| known == anchor),
        "there is no such heading"
    );
    Ok(())
}

#[test]
fn a_block_is_of_a_kind_that_is_known_to_run_or_not_to() -> Result<()> {
    for page in all()? {
        let markdown = text(&page)?;
        let mut open = false;
        for (at, line) in markdown.lines().enumerate() {
            let place = format!("{page}:{}", at + 1);
            ensure!(
                !(line.starts_with(' ') && fence(line.trim_start()).is_some()),
                "{place}: a block within a list is not found by the test that runs it"
            );
            if let Some((language, _)) = fence(line) {
                open = !open;
                ensure!(
                    !open || LANGUAGES.contains(&language),
                    "{place}: {language:?} is none of {LANGUAGES:?}"
                );
            }
        }
        Page::parse(&page, &markdown)?;
    }
    Ok(())
}

/// The README's commands are those of pages, which `tests/chart/docs.rs` runs, or make's, which CI does.
#[test]
fn the_readme_has_no_command_that_is_not_run() -> Result<()> {
    let mut run = BTreeSet::new();
    for page in pages()? {
        let page = Page::read(repository(), &page)?;
        run.extend(page.commands.into_iter().map(|command| command.text));
    }
    for command in Page::read(repository(), "README.md")?.commands {
        let known = command.text.starts_with("make ") || run.contains(&command.text);
        ensure!(known, "README.md:{}: no page has `{command}`", command.line);
    }
    Ok(())
}

#[test]
fn every_make_target_that_is_named_is_in_the_makefile() -> Result<()> {
    let makefile = text("Makefile")?;
    let workflows = [
        ".ci/run",
        ".github/workflows/ci.yaml",
        ".github/workflows/release.yaml",
    ];
    for path in all()?.into_iter().chain(workflows.map(str::to_owned)) {
        let text = text(&path)?;
        for before in ["`make ", "$ make ", "\nmake ", "run: make ", "exec make "] {
            for named in text.split(before).skip(1) {
                let end = named.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-');
                let target = &named[..end.unwrap_or(named.len())];
                ensure!(
                    makefile.contains(&format!("\n{target}:")),
                    "{path}: make {target}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn every_problem_of_the_api_and_every_alert_is_explained() -> Result<()> {
    let page = text(&format!("{PAGES}/troubleshoot.md"))?;
    let mut missing = Vec::new();
    let openapi: Value = serde_json::from_str(&text("api/openapi.json")?)?;
    let mut types = BTreeSet::new();
    problem_types(&openapi, &mut types);
    ensure!(types.len() > 20, "only {types:?} in api/openapi.json");
    missing.extend(
        types
            .into_iter()
            .filter(|kind| !page.contains(&format!("`{kind}`"))),
    );
    let alerts = text("charts/fovea/templates/metrics/_alerts.tpl")?;
    // A name at the beginning of a line, and nothing behind its colon.
    let names = alerts.lines().filter_map(|line| line.strip_suffix(':'));
    let names: Vec<_> = names
        .filter(|name| name.chars().all(char::is_alphanumeric))
        .collect();
    ensure!(names.len() > 10, "only {names:?} among the chart's alerts");
    let alerts = names.iter().map(|name| format!("Fovea{name}"));
    missing.extend(alerts.filter(|name| !page.contains(name)));
    ensure!(
        missing.is_empty(),
        "{PAGES}/troubleshoot.md does not explain {missing:?}"
    );
    Ok(())
}

fn problem_types(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            found.extend(text.strip_prefix("urn:fovea:problem:").map(str::to_owned));
        }
        Value::Array(values) => values.iter().for_each(|value| problem_types(value, found)),
        Value::Object(members) => members
            .values()
            .for_each(|value| problem_types(value, found)),
        _ => {}
    }
}
