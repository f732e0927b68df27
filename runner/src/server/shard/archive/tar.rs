//! Reads a tar archive as a stream, member by member, and nothing of it to a disk.
//!
//! Every part that is held in memory has a bound: a header that extends another, a member only where its
//! reader asks for it. The sizes and names of pax (POSIX.1-2001) and GNU headers count. An archive ends with a
//! block of zeros; what ends without is cut.

use bytes::{Bytes as Chunk, BytesMut};
use tar::{EntryType, Header, PaxExtensions};

const BLOCK: usize = 512;

/// Bound on a header that extends another, and so on a name, in bytes.
const MAX_EXTENSION_BYTES: u64 = 1024 * 1024;

/// Where the archive's bytes come from.
pub(super) trait Bytes: Send {
    type Error: Send;

    /// The next bytes; `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Chunk>, Self::Error>> + Send;

    /// Leaves out bytes, if that is cheaper than to read over them; returns whether it did.
    fn skip(&mut self, bytes: u64) -> bool;
}

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// Whether it is a file, whose content is in the archive as it is: no folder, link, device or sparse
    /// file.
    pub(super) is_file: bool,
    /// Length of its content in bytes.
    pub(super) bytes: u64,
}

/// Why there is no further member.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken<E> {
    /// The archive ends without its end.
    Cut,
    /// It is not a tar archive, or is damaged.
    Invalid(&'static str),
    /// The bytes cannot be read.
    Source(E),
}

/// The members of an archive.
pub(super) struct Members<B> {
    source: B,
    chunk: Chunk,
    /// Bytes of the current member that are not read yet.
    content: u64,
    /// Bytes between its content and the next header.
    padding: u64,
}

/// What the headers before a member's own say of it.
#[derive(Debug, Default)]
struct Extended {
    /// Replaces the header's own.
    name: Option<String>,
    bytes: Option<u64>,
    is_sparse: bool,
}

impl<B: Bytes> Members<B> {
    pub(super) fn new(source: B) -> Self {
        Self {
            source,
            chunk: Chunk::new(),
            content: 0,
            padding: 0,
        }
    }

    /// The next member; `None` at the archive's end. Skips what is left of the one before.
    pub(super) async fn next(&mut self) -> Result<Option<Member>, Broken<B::Error>> {
        let mut extended = Extended::default();
        loop {
            let rest = self.content.saturating_add(self.padding);
            (self.content, self.padding) = (0, 0);
            self.skip(rest).await?;
            let block = self.take(BLOCK).await?;
            if block.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            if !has_its_checksum(header) {
                return Err(Broken::Invalid("a header does not have its checksum"));
            }
            let size = || Broken::Invalid("a header's size is no number");
            let own = header.entry_size().map_err(|_| size())?;
            let kind = header.entry_type();
            match kind {
                EntryType::XHeader => {
                    extended.read_pax(&self.extension(own).await?);
                }
                EntryType::GNULongName => {
                    let text = self.extension(own).await?;
                    let end = text.iter().position(|&byte| byte == 0);
                    extended.name = Some(name(&text[..end.unwrap_or(text.len())]));
                }
                EntryType::XGlobalHeader | EntryType::GNULongLink => self.enter(own),
                _ => {
                    let is_link = matches!(kind, EntryType::Link | EntryType::Symlink);
                    let bytes = match extended.bytes {
                        // No content follows a link, whatever its size says.
                        _ if is_link => 0,
                        Some(bytes) => bytes,
                        None => own,
                    };
                    if kind == EntryType::GNUSparse {
                        self.skip_sparse_map(header).await?;
                    }
                    self.enter(bytes);
                    let own_name = || name(&header.path_bytes());
                    let name = extended.name.unwrap_or_else(own_name);
                    let is_folder = name.ends_with('/');
                    let is_file = matches!(kind, EntryType::Regular | EntryType::Continuous);
                    return Ok(Some(Member {
                        name,
                        is_file: is_file && !is_folder && !extended.is_sparse,
                        bytes,
                    }));
                }
            }
        }
    }

    /// The whole content of the current member, which its reader has found to be small enough.
    pub(super) async fn content(&mut self) -> Result<Chunk, Broken<B::Error>> {
        let bytes = std::mem::take(&mut self.content);
        let bytes = usize::try_from(bytes).map_err(|_| Broken::Invalid("a member is too large"))?;
        self.take(bytes).await
    }

    /// The content of a header that extends another.
    async fn extension(&mut self, bytes: u64) -> Result<Chunk, Broken<B::Error>> {
        self.enter(bytes);
        if bytes > MAX_EXTENSION_BYTES {
            return Err(Broken::Invalid("a header before a member is too large"));
        }
        self.content().await
    }

    fn enter(&mut self, bytes: u64) {
        self.content = bytes;
        self.padding = (BLOCK as u64 - bytes % BLOCK as u64) % BLOCK as u64;
    }

    /// Skips the blocks with the rest of a sparse file's map.
    async fn skip_sparse_map(&mut self, header: &Header) -> Result<(), Broken<B::Error>> {
        let mut goes_on = header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
        while goes_on {
            // 21 pairs of numbers, 24 bytes each, then the flag.
            goes_on = self.take(BLOCK).await?[504] == 1;
        }
        Ok(())
    }

    /// The next bytes of the archive, as many.
    async fn take(&mut self, bytes: usize) -> Result<Chunk, Broken<B::Error>> {
        if self.chunk.len() >= bytes {
            return Ok(self.chunk.split_to(bytes));
        }
        let mut all = BytesMut::with_capacity(bytes);
        loop {
            let more = (bytes - all.len()).min(self.chunk.len());
            all.extend_from_slice(&self.chunk.split_to(more));
            if all.len() == bytes {
                return Ok(all.freeze());
            }
            self.fill().await?;
        }
    }

    async fn skip(&mut self, mut bytes: u64) -> Result<(), Broken<B::Error>> {
        loop {
            let more = usize::try_from(bytes).unwrap_or(usize::MAX);
            let more = more.min(self.chunk.len());
            drop(self.chunk.split_to(more));
            bytes -= more as u64;
            if bytes == 0 || self.source.skip(bytes) {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// Replaces the used-up chunk.
    async fn fill(&mut self) -> Result<(), Broken<B::Error>> {
        let chunk = self.source.chunk().await.map_err(Broken::Source)?;
        self.chunk = chunk.ok_or(Broken::Cut)?;
        Ok(())
    }
}

impl Extended {
    fn read_pax(&mut self, text: &[u8]) {
        for record in PaxExtensions::new(text).flatten() {
            match record.key_bytes() {
                b"path" => {
                    self.name = Some(name(record.value_bytes()));
                }
                b"size" => {
                    self.bytes = record.value().ok().and_then(|size| size.parse().ok());
                }
                key if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
                _ => {}
            }
        }
    }
}

fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a header's checksum, the sum of its bytes with the checksum's own as spaces, is right.
fn has_its_checksum(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    let found = sum(&bytes[..148]) + 8 * u32::from(b' ') + sum(&bytes[156..]);
    header.cksum().is_ok_and(|named| named == found)
}
