//! Reads the allowed instructions of a pickle.

use super::value::{Dict, Value};
use super::{Fault, refuse};

/// Newest protocol (Python 3.8).
const MAX_PROTOCOL: u8 = 5;

/// Bytes of the longest integer: it must fit an `i64`.
const MAX_INT_BYTES: usize = 8;

/// One instruction, with pickle's names in capitals.
#[derive(Debug)]
pub(super) enum Instruction<'a> {
    /// STOP
    Stop,
    /// PROTO, FRAME
    Nothing,
    /// MARK
    Mark,
    /// NONE, BININT, BINUNICODE, `EMPTY_LIST` and the like
    Push(Value<'a>),
    /// `EMPTY_TUPLE`, TUPLE1 to TUPLE3
    Tuple(usize),
    /// TUPLE
    TupleFromMark,
    /// APPEND
    Append,
    /// APPENDS
    AppendFromMark,
    /// SETITEM
    SetItem,
    /// SETITEMS
    SetItemsFromMark,
    /// GLOBAL, with module and name
    Global(&'a str, &'a str),
    /// `STACK_GLOBAL`
    StackGlobal,
    /// REDUCE
    Call,
    /// BUILD
    SetAttributes,
    /// BINPERSID
    Outside,
    /// BINPUT, `LONG_BINPUT`
    Remember(u32),
    /// MEMOIZE
    RememberNext,
    /// BINGET, `LONG_BINGET`
    Recall(u32),
}

/// The unread rest of the pickle.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(pickle: &'a [u8]) -> Self {
        Self(pickle)
    }

    /// Reads the next instruction and its operands, by the opcodes of Python's `pickle.py`.
    pub(super) fn instruction(&mut self) -> Result<Instruction<'a>, Fault> {
        Ok(match self.byte()? {
            b'.' => Instruction::Stop,
            0x80 => self.protocol()?,
            // FRAME: a length for streaming readers.
            0x95 => self.take(8).map(|_| Instruction::Nothing)?,
            b'(' => Instruction::Mark,
            b'N' => Instruction::Push(Value::None),
            0x88 | 0x89 => Instruction::Push(Value::Bool),
            b'G' => self.take(8).map(|_| Instruction::Push(Value::Float))?,
            b'J' => Instruction::Push(Value::Int(i32::from_le_bytes(self.array()?).into())),
            b'K' => Instruction::Push(Value::Int(self.byte()?.into())),
            b'M' => Instruction::Push(Value::Int(self.short()?.into())),
            0x8a => {
                let length = self.byte()?.into();
                self.long(length)?
            }
            0x8b => {
                let length = self.word()?.into();
                self.long(length)?
            }
            0x8c => {
                let length = self.byte()?.into();
                self.text(length)?
            }
            b'X' => {
                let length = self.word()?.into();
                self.text(length)?
            }
            0x8d => {
                let length = u64::from_le_bytes(self.array()?);
                self.text(length)?
            }
            b')' => Instruction::Tuple(0),
            0x85 => Instruction::Tuple(1),
            0x86 => Instruction::Tuple(2),
            0x87 => Instruction::Tuple(3),
            b't' => Instruction::TupleFromMark,
            b']' => Instruction::Push(Value::List(vec![])),
            b'a' => Instruction::Append,
            b'e' => Instruction::AppendFromMark,
            b'}' => Instruction::Push(Value::Dict(Dict::default())),
            b's' => Instruction::SetItem,
            b'u' => Instruction::SetItemsFromMark,
            b'c' => Instruction::Global(self.line()?, self.line()?),
            0x93 => Instruction::StackGlobal,
            b'R' => Instruction::Call,
            b'b' => Instruction::SetAttributes,
            b'Q' => Instruction::Outside,
            b'q' => Instruction::Remember(self.byte()?.into()),
            b'r' => Instruction::Remember(self.word()?),
            0x94 => Instruction::RememberNext,
            b'h' => Instruction::Recall(self.byte()?.into()),
            b'j' => Instruction::Recall(self.word()?),
            other => {
                let name = refused_name(other);
                return refuse(format!(
                    "its pickle has the {name}, which no tensor needs; it may be hostile"
                ));
            }
        })
    }

    fn protocol(&mut self) -> Result<Instruction<'a>, Fault> {
        match self.byte()? {
            ..=MAX_PROTOCOL => Ok(Instruction::Nothing),
            protocol => refuse(format!("its pickle has the protocol {protocol}")),
        }
    }

    /// Takes the next bytes; a length beyond the pickle's end allocates nothing.
    fn take(&mut self, length: u64) -> Result<&'a [u8], Fault> {
        let split = usize::try_from(length).ok();
        match split.and_then(|length| self.0.split_at_checked(length)) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => refuse(format!(
                "its pickle claims {length} bytes where {} are left",
                self.0.len()
            )),
        }
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Fault> {
        let mut array = [0; LENGTH];
        array.copy_from_slice(self.take(LENGTH as u64)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    fn short(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_le_bytes)
    }

    fn word(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: u64) -> Result<Instruction<'a>, Fault> {
        utf8(self.take(length)?).map(|text| Instruction::Push(Value::Text(text)))
    }

    /// Takes the text up to the next line feed, and the line feed.
    fn line(&mut self) -> Result<&'a str, Fault> {
        let Some(end) = self.0.iter().position(|&byte| byte == b'\n') else {
            return refuse("its pickle ends within a name");
        };
        let line = self.take(end as u64)?;
        self.take(1)?;
        utf8(line)
    }

    /// An integer in two's complement, least significant byte first.
    fn long(&mut self, length: u64) -> Result<Instruction<'a>, Fault> {
        let bytes = self.take(length)?;
        if bytes.len() > MAX_INT_BYTES {
            return refuse(format!("its pickle has an integer of {length} bytes"));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut extended = [if negative { 0xff } else { 0 }; MAX_INT_BYTES];
        extended[..bytes.len()].copy_from_slice(bytes);
        let int = i64::from_le_bytes(extended);
        Ok(Instruction::Push(Value::Int(int)))
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes)
        .map_err(|_| Fault::Refused("its pickle has a text that is not UTF-8".into()))
}

fn refused_name(opcode: u8) -> String {
    let name = match opcode {
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        b'P' => "PERSID",
        b'B' | b'C' | 0x8e => "BINBYTES",
        0x96..=0x98 => "BUFFER",
        b'2' => "DUP",
        b'I' | b'L' | b'F' | b'S' | b'V' | b'T' | b'U' => "a number or string as text",
        b'p' | b'g' => "PUT or GET as text",
        0x8f..=0x91 => "a set",
        _ => return format!("instruction {opcode:#04x}"),
    };
    format!("instruction {name}")
}
