//! The part of Markdown that these tests need.

use fovea_tests::console::fence;

/// A page's lines outside fenced blocks, from 1, without what is in code.
pub(crate) fn prose(markdown: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut prose = Vec::new();
    for (at, line) in markdown.lines().enumerate() {
        if fence(line.trim_start()).is_some() {
            fenced = !fenced;
        } else if !fenced {
            let parts = line.split('`').enumerate();
            let said = parts.filter(|(at, _)| at % 2 == 0).map(|(_, part)| part);
            prose.push((at + 1, said.collect()));
        }
    }
    prose
}

/// Targets of a page's links and images, with their lines.
pub(crate) fn links(markdown: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (at, line) in prose(markdown) {
        for (begin, end) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
            let after = line.split(begin).skip(1);
            links.extend(after.filter_map(|rest| Some((at, rest.split_once(end)?.0.to_owned()))));
        }
    }
    links
}

pub(crate) fn anchors(markdown: &str) -> Vec<String> {
    let mut fenced = false;
    let mut anchors = Vec::new();
    for line in markdown.lines() {
        fenced ^= fence(line.trim_start()).is_some();
        if !fenced && line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
            anchors.push(
                heading
                    .chars()
                    .filter(kept)
                    .collect::<String>()
                    .replace(' ', "-"),
            );
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# What is wrong, by `what` you see
[a](b.md#c) and `[no](link)` and ![d](e.svg)
```text
# no heading
[no](link)
```
## Two
<img src=\"f.png\">
";

    #[test]
    fn links_and_headings_are_found_where_they_are_none_of_code() {
        let links: Vec<_> = links(PAGE).into_iter().map(|(_, link)| link).collect();
        assert_eq!(links, ["b.md#c", "e.svg", "f.png"]);
        assert_eq!(anchors(PAGE), ["what-is-wrong-by-what-you-see", "two"]);
    }
}
