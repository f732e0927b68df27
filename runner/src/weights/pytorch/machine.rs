//! A pickle machine with the instructions that `torch.save` needs; all others are refused.
//!
//! It cannot run code: names outside the list in [`global`] are refused when read. Memory is bounded
//! by the pickle's own length, by [`MAX_STACK`] and by the number of values.

use super::instruction::{Instruction, Reader};
use super::rebuild::{self, global};
use super::value::{Place, Value, Values};
use super::{Fault, refuse};
use std::collections::BTreeMap;

/// Upper bound on the stack; all items of a state dict are on it before they are added.
const MAX_STACK: usize = 1 << 19;

/// Upper bound on memoised values.
const MAX_MEMO: usize = 1 << 20;

/// Upper bound on open collections: a tensor in a state dict in a checkpoint needs five.
const MAX_MARKS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Machine<'a> {
    pub(super) values: Values<'a>,
    stack: Vec<Place>,
    /// Stack positions where the open collections begin.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Place>,
}

/// Runs the pickle to its end; returns all values and the result's place.
pub(super) fn run(pickle: &[u8]) -> Result<(Machine<'_>, Place), Fault> {
    let mut machine = Machine::default();
    let mut rest = Reader::new(pickle);
    loop {
        if let Some(result) = machine.step(rest.instruction()?)? {
            return Ok((machine, result));
        }
    }
}

impl<'a> Machine<'a> {
    /// Executes one instruction; returns the result after the last.
    fn step(&mut self, instruction: Instruction<'a>) -> Result<Option<Place>, Fault> {
        match instruction {
            Instruction::Stop => return self.pop().map(Some),
            Instruction::Nothing => {}
            Instruction::Mark if self.marks.len() >= MAX_MARKS => {
                return refuse(format!("its pickle is nested over {MAX_MARKS} deep"));
            }
            Instruction::Mark => self.marks.push(self.stack.len()),
            Instruction::Push(value) => self.push(value)?,
            Instruction::Tuple(length) => self.tuple(length)?,
            Instruction::TupleFromMark => {
                let items = self.pop_mark()?;
                self.push(Value::Tuple(items))?;
            }
            Instruction::Append => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            Instruction::AppendFromMark => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            Instruction::SetItem => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            Instruction::SetItemsFromMark => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            Instruction::Global(module, name) => self.push(global(module, name)?)?,
            Instruction::StackGlobal => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.values.text(module), self.values.text(name)) {
                    (Some(module), Some(name)) => self.push(global(module, name)?)?,
                    _ => return refuse("its pickle names a function otherwise than by two texts"),
                }
            }
            Instruction::Call => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let result = rebuild::call(&mut self.values, function, arguments)?;
                self.push_place(result)?;
            }
            Instruction::SetAttributes => {
                let (state, object) = (self.pop()?, self.top()?);
                rebuild::set_attributes(&self.values, object, state)?;
            }
            Instruction::Outside => {
                let id = self.pop()?;
                self.push(rebuild::storage(&self.values, id)?)?;
            }
            Instruction::Remember(key) => self.remember(key)?,
            Instruction::RememberNext => {
                let key = u32::try_from(self.memo.len()).unwrap_or(u32::MAX);
                self.remember(key)?;
            }
            Instruction::Recall(key) => self.recall(key)?,
        }
        Ok(None)
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), Fault> {
        let place = self.values.add(value)?;
        self.push_place(place)
    }

    fn push_place(&mut self, place: Place) -> Result<(), Fault> {
        if self.stack.len() >= MAX_STACK {
            return refuse(format!(
                "its pickle holds more than {MAX_STACK} values at once"
            ));
        }
        self.stack.push(place);
        Ok(())
    }

    /// The last value of the innermost open collection.
    fn top(&self) -> Result<Place, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&place) if self.stack.len() > floor => Ok(place),
            _ => refuse("its pickle takes a value where there is none"),
        }
    }

    fn pop(&mut self) -> Result<Place, Fault> {
        let place = self.top()?;
        self.stack.pop();
        Ok(place)
    }

    /// Closes the innermost collection and takes its items.
    fn pop_mark(&mut self) -> Result<Vec<Place>, Fault> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => refuse("its pickle ends a collection that was not begun"),
        }
    }

    fn tuple(&mut self, length: usize) -> Result<(), Fault> {
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Value::Tuple(items))
    }

    fn append(&mut self, items: &[Place]) -> Result<(), Fault> {
        let list = self.top()?;
        match self.values.get_mut(list) {
            Value::List(list) => list.extend(items),
            other => return refuse(format!("its pickle appends to {}", other.kind())),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Place]) -> Result<(), Fault> {
        let dict = self.top()?;
        let (pairs, odd) = items.as_chunks::<2>();
        match self.values.get_mut(dict) {
            Value::Dict(dict) if odd.is_empty() => {
                dict.items
                    .extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            Value::Dict(_) => return refuse("its pickle sets a key without a value"),
            other => return refuse(format!("its pickle sets items of {}", other.kind())),
        }
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), Fault> {
        let place = self.top()?;
        self.memo.insert(key, place);
        if self.memo.len() > MAX_MEMO {
            return refuse(format!("its pickle remembers more than {MAX_MEMO} values"));
        }
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), Fault> {
        match self.memo.get(&key) {
            Some(&place) => self.push_place(place),
            None => refuse("its pickle recalls what it has not remembered"),
        }
    }
}
