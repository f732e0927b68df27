//! CSV with a header: the columns key, id, and the parameters by their names. Empty lines are ignored, and an
//! empty cell is as an absent member of a line of JSON.

use super::item::{Checks, Entry, Fault, failed};
use super::records::Records;
use super::text::{Emit, ManifestError};
use fovea_protocol::Parameters;
use std::io::BufRead;

/// A column of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Key,
    Id,
    MaxNewTokens,
    NumBeams,
    Prompt,
    TopK,
    ScoreThresholdPermille,
}

impl Column {
    const ALL: [Self; 7] = [
        Self::Key,
        Self::Id,
        Self::MaxNewTokens,
        Self::NumBeams,
        Self::Prompt,
        Self::TopK,
        Self::ScoreThresholdPermille,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Id => "id",
            Self::MaxNewTokens => "maxNewTokens",
            Self::NumBeams => "numBeams",
            Self::Prompt => "prompt",
            Self::TopK => "topK",
            Self::ScoreThresholdPermille => "scoreThresholdPermille",
        }
    }
}

pub(super) fn parse(
    input: &mut impl BufRead,
    checks: &Checks,
    emit: &mut Emit<'_>,
) -> Result<(), ManifestError> {
    let mut records = Records::new(input, Column::ALL.len());
    let Some(number) = records.next()? else {
        return Ok(());
    };
    let columns = header(cells(&records))
        .map_err(|what| ManifestError::Header(format!("line {number} of the manifest: {what}")))?;
    while let Some(number) = records.next()? {
        let entry = cells(&records).and_then(|cells| entry(&columns, &cells));
        emit(match entry {
            Ok(entry) => checks.item(number, entry),
            Err((fault, what)) => {
                let key = cell(&columns, &records, Column::Key).unwrap_or_default();
                let id = cell(&columns, &records, Column::Id);
                failed(number, fault, &what, (key, id))
            }
        })?;
    }
    Ok(())
}

type Bad = (Fault, String);

fn cells<'a, R: BufRead>(records: &'a Records<'_, R>) -> Result<Vec<&'a str>, Bad> {
    records.cells().map_err(|what| (Fault::Line, what))
}

/// The columns that the first record names.
fn header(cells: Result<Vec<&str>, Bad>) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    for cell in cells.map_err(|(_, what)| what)? {
        let named = |column: &Column| column.as_str() == cell.trim();
        let column = Column::ALL.into_iter().find(named).ok_or_else(|| {
            let cell: String = cell.chars().take(80).collect();
            let all = Column::ALL.map(Column::as_str).join(", ");
            format!("{cell:?} is no column: the first line names the columns, which are {all}")
        })?;
        if columns.contains(&column) {
            return Err(format!("the column {} comes twice", column.as_str()));
        }
        columns.push(column);
    }
    if columns.contains(&Column::Key) {
        Ok(columns)
    } else {
        Err("there is no column key: the first line names the columns".to_owned())
    }
}

fn entry(columns: &[Column], cells: &[&str]) -> Result<Entry, Bad> {
    if cells.len() != columns.len() {
        let (found, expected) = (cells.len(), columns.len());
        let what = format!("it has {found} cells, and the header {expected}");
        return Err((Fault::Line, what));
    }
    let mut entry = Entry::default();
    for (column, cell) in columns.iter().zip(cells) {
        let Parameters {
            max_new_tokens,
            num_beams,
            prompt,
            top_k,
            score_threshold_permille,
        } = &mut entry.parameters;
        if cell.is_empty() {
            continue;
        }
        let number = || {
            let number = cell.trim().parse::<u32>().map(Some);
            number.map_err(|_| {
                let name = column.as_str();
                (Fault::Parameters, format!("{name} is no whole number"))
            })
        };
        match column {
            Column::Key => (*cell).clone_into(&mut entry.key),
            Column::Id => entry.id = Some((*cell).to_owned()),
            Column::MaxNewTokens => *max_new_tokens = number()?,
            Column::NumBeams => *num_beams = number()?,
            Column::Prompt => *prompt = Some((*cell).to_owned()),
            Column::TopK => *top_k = number()?,
            Column::ScoreThresholdPermille => *score_threshold_permille = number()?,
        }
    }
    Ok(entry)
}

/// A cell of a bad record, as far as it has one.
fn cell<R: BufRead>(
    columns: &[Column],
    records: &Records<'_, R>,
    wanted: Column,
) -> Option<String> {
    let place = columns.iter().position(|column| *column == wanted)?;
    let cells = records.cells().unwrap_or_default();
    cells.get(place).map(|cell| (*cell).to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::super::PlanItem;
    use super::super::item::tests::checks;
    use super::super::text::MAX_LINE_BYTES;
    use super::*;
    use std::io::BufReader;

    fn parsed(text: &[u8]) -> Result<Vec<PlanItem>, ManifestError> {
        let read = |buffer: usize| {
            let mut items = Vec::new();
            let mut input = BufReader::with_capacity(buffer, text);
            parse(&mut input, &checks(), &mut |item| {
                items.push(item);
                Ok(())
            })?;
            Ok::<_, ManifestError>(items)
        };
        let items = read(1 << 16)?;
        assert_eq!(items, read(1)?, "by the byte");
        Ok(items)
    }

    #[test]
    fn a_record_is_an_item() {
        let text = "prompt,key,id,numBeams\n\"a, \"\"b\"\"\nc\",x y.jpg,1,\n,ü.jpg,,3\n";
        let items = parsed(text.as_bytes()).unwrap();
        let [first, second] = &items[..] else {
            panic!("{items:?}");
        };
        assert_eq!(
            (first.key.as_str(), first.id.as_deref()),
            ("x y.jpg", Some("1"))
        );
        let prompt = first.parameters.as_ref().unwrap().prompt.as_deref();
        assert_eq!(prompt, Some("a, \"b\"\nc"));
        assert_eq!((second.key.as_str(), &second.id), ("ü.jpg", &None));
        assert_eq!(second.parameters.as_ref().unwrap().num_beams, Some(3));
        assert!(items.iter().all(|item| item.error.is_none()));
    }

    #[test]
    fn a_header_with_another_column_or_without_key_is_refused() {
        for (text, part) in [
            (
                &b"\n\nkey,size\na.jpg,1\n"[..],
                "line 3 of the manifest: \"size\" is no column",
            ),
            (b"id\n1\n", "no column key"),
            (b"key,key\n", "comes twice"),
            (b"{\"key\": \"a.jpg\"}\n", "is no column"),
            (b"a.jpg\nb.jpg\n", "the first line names the columns"),
            (b"key,\xff\n", "not UTF-8"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(matches!(error, ManifestError::Header(_)));
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(parsed(b"").unwrap(), []);
        assert_eq!(parsed(b"\r\n\n").unwrap(), []);
        assert_eq!(parsed(b"key , id\n").unwrap(), []);
    }

    #[test]
    fn a_bad_record_is_a_failed_item_that_names_its_line() {
        let text = b"key,topK,numBeams\r\n\
            a.jpg,,1\r\n\
            \r\n\
            b.jpg,,x\r\n\
            c.jpg\r\n\
            \"d\nd.jpg\",,\r\n\
            e.jpg,5,\r\n\
            f\xff.jpg,,\r\n\
            g.jpg,,1,1,1,1,1,1,1,1,1,1\r\n\
            ../h.jpg,,\r\n\
            i.jpg,,";
        let items = parsed(text).unwrap();
        let found: Vec<_> = items
            .iter()
            .map(|item| match &item.error {
                None => (item.key.as_str(), "", 0),
                Some(error) => {
                    let number = error.message.split(' ').nth(1).unwrap();
                    (
                        item.key.as_str(),
                        error.reason.as_str(),
                        number.parse().unwrap(),
                    )
                }
            })
            .collect();
        let expected = [
            ("a.jpg", "", 0),
            ("b.jpg", "InvalidParameters", 4),
            ("c.jpg", "InvalidLine", 5),
            ("d\nd.jpg", "InvalidKey", 6),
            ("e.jpg", "InvalidParameters", 8),
            ("", "InvalidLine", 9),
            ("", "InvalidLine", 10),
            ("../h.jpg", "InvalidKey", 11),
            ("i.jpg", "", 0),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_quote_that_is_not_closed_costs_its_own_line_alone() {
        let long = format!("{}\n", "x".repeat(100)).repeat(MAX_LINE_BYTES / 50);
        for rest in [
            "",
            "\n",
            "\r\nc.jpg,3",
            "\nc.jpg,3\n",
            &format!("\nc.jpg,3\n{long}"),
        ] {
            let text = format!("key,id\r\na.jpg,1\r\nbad.jpg,\"2\r\n\r\nb.jpg,2{rest}");
            let items = parsed(text.as_bytes()).unwrap();
            let good = |key: &str, id: &str| {
                let (key, id) = (key.to_owned(), Some(id.to_owned()));
                PlanItem {
                    key,
                    id,
                    ..PlanItem::default()
                }
            };
            assert_eq!(items[0], good("a.jpg", "1"));
            let message = &items[1].error.as_ref().unwrap().message;
            assert!(
                message.starts_with("line 3 ") && message.contains("quote"),
                "{message}"
            );
            assert_eq!(items[2], good("b.jpg", "2"));
            if rest.contains('c') {
                assert_eq!(items[3], good("c.jpg", "3"));
            }
        }
        // Each line opens a quote that the next one does not close.
        let text = format!("key,id\n{}", "x\",\"y\n".repeat(20_000));
        let items = parsed(text.as_bytes()).unwrap();
        assert_eq!(items.len(), 20_000);
        assert!(items.iter().all(|item| item.error.is_some()));
    }

    #[test]
    fn a_record_without_an_end_takes_no_more_memory_than_a_line() {
        let mut text = b"key,id\na.jpg,\"".to_vec();
        text.extend(std::iter::repeat_n(b'x', 10 * MAX_LINE_BYTES));
        text.extend(b"\"\nb.jpg,2\n");
        let items = parsed(&text).unwrap();
        let [long, next] = &items[..] else {
            panic!("{} items", items.len());
        };
        let message = &long.error.as_ref().unwrap().message;
        assert!(
            message.contains("line 2 ") && message.contains("quote"),
            "{message}"
        );
        assert_eq!((next.key.as_str(), &next.error), ("b.jpg", &None));
    }
}
