//! Converts text to tokens and back: a checkpoint's `tokenizer.json`, or BERT's `WordPiece` from its
//! `vocab.txt`, as transformers' `BertTokenizer` sets it up.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("there is neither tokenizer.json nor vocab.txt in {0}; fetch the checkpoint whole")]
    Missing(PathBuf),
    #[error("{path}: {why}")]
    Invalid { path: PathBuf, why: String },
}

/// The supported keys of `tokenizer_config.json`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    do_lower_case: bool,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: bool,
    clean_up_tokenization_spaces: bool,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self {
            do_lower_case: true,
            strip_accents: None,
            tokenize_chinese_chars: true,
            clean_up_tokenization_spaces: false,
        }
    }
}

#[derive(Debug)]
pub struct CaptionTokenizer {
    tokenizer: Tokenizer,
    clean_up: bool,
}

impl CaptionTokenizer {
    pub fn open(dir: &Path) -> Result<Self, TokenizerError> {
        let config_path = dir.join("tokenizer_config.json");
        let config = match std::fs::read_to_string(&config_path) {
            Ok(text) => serde_json::from_str(&text).map_err(invalid(&config_path))?,
            Err(_) => TokenizerConfig::default(),
        };
        let (json, vocabulary) = (dir.join("tokenizer.json"), dir.join("vocab.txt"));
        let mut tokenizer = if json.exists() {
            Tokenizer::from_file(&json).map_err(invalid(&json))?
        } else if vocabulary.exists() {
            word_piece(&vocabulary, &config).map_err(invalid(&vocabulary))?
        } else {
            return Err(TokenizerError::Missing(dir.to_owned()));
        };
        // A tokenizer.json may have padding and truncation settings.
        tokenizer.with_truncation(None).map_err(invalid(&json))?;
        tokenizer.with_padding(None);
        Ok(Self {
            tokenizer,
            clean_up: config.clean_up_tokenization_spaces,
        })
    }

    /// Token ids, `[CLS] .. [SEP]`.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>, tokenizers::Error> {
        let encoding = self.tokenizer.encode(text, true)?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// The text, without special tokens and unknown ids.
    pub fn decode(&self, tokens: &[i64]) -> Result<String, tokenizers::Error> {
        let ids: Vec<u32> = tokens
            .iter()
            .filter_map(|&id| u32::try_from(id).ok())
            .collect();
        let text = self.tokenizer.decode(&ids, true)?;
        Ok(if self.clean_up { clean_up(&text) } else { text })
    }
}

fn invalid<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> TokenizerError {
    let path = path.to_owned();
    move |error| TokenizerError::Invalid {
        path: path.clone(),
        why: error.to_string(),
    }
}

fn word_piece(path: &Path, config: &TokenizerConfig) -> tokenizers::Result<Tokenizer> {
    let model = WordPiece::builder()
        .vocab(WordPiece::read_bytes(&std::fs::read(path)?)?)
        .build()?;
    let mut tokenizer = Tokenizer::new(model);
    let id = |token: &str| {
        tokenizer
            .token_to_id(token)
            .map(|id| (token.to_owned(), id))
            .ok_or_else(|| format!("it has no token {token}"))
    };
    let processing = BertProcessing::new(id("[SEP]")?, id("[CLS]")?);
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(
            true,
            config.tokenize_chinese_chars,
            config.strip_accents,
            config.do_lower_case,
        )))?
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(processing))
        .with_decoder(Some(tokenizers::decoders::wordpiece::WordPiece::default()));
    tokenizer.add_special_tokens(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(|token| AddedToken::from(token, true)),
    )?;
    Ok(tokenizer)
}

/// transformers' `clean_up_tokenization`.
fn clean_up(text: &str) -> String {
    [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_alone_makes_berts_tokenizer() {
        let dir = tempfile::tempdir().unwrap();
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nred\n##dish\ncircle\n.\n";
        std::fs::write(dir.path().join("vocab.txt"), vocabulary).unwrap();
        let tokenizer = CaptionTokenizer::open(dir.path()).unwrap();
        let tokens = tokenizer.encode("A reddish CIRCLE.").unwrap();
        assert_eq!(tokens, [2, 5, 6, 7, 8, 9, 3]);
        assert_eq!(tokenizer.decode(&tokens).unwrap(), "a reddish circle.");
        assert_eq!(tokenizer.decode(&[5, 99, 8]).unwrap(), "a circle");
    }

    #[test]
    fn a_folder_without_a_tokenizer_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error = CaptionTokenizer::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("vocab.txt"), "{error}");
    }
}
