//! Numbers for the names of one query, and the functions that turn the one into the other.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, DictionaryArray, Int32Array, StringArray, StringDictionaryBuilder};
use arrow::datatypes::{DataType, FieldRef, Int32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use parking_lot::Mutex;

/// Dictionaries whose numbers are remembered: batches of one row group share theirs.
const DICTIONARIES_MAX: usize = 16;
/// In the place of a number: the name was not looked at yet.
const UNKNOWN: i32 = -1;
/// What a name takes beside its text.
const NAME_BYTES: usize = 64;

/// Every name of a query once.
///
/// Bound: the memory of queries, in which names are counted; beyond it the query ends with an error. Beside them 16 dictionaries of
/// batches are held, which the query reads.
pub(super) struct Names(Mutex<Held>);

struct Held {
    numbers: HashMap<Arc<str>, i32>,
    texts: Vec<Arc<str>>,
    memory: MemoryReservation,
    dictionaries: Vec<Known>,
}

/// The numbers of the names of one dictionary, as far as they are known.
struct Known {
    texts: StringArray,
    numbers: Vec<i32>,
}

impl Known {
    /// What is null may have any key.
    fn numbers_of(&self, keys: &[i32]) -> Vec<i32> {
        keys.iter().map(|key| self.numbers.get(*key as usize).copied().unwrap_or(UNKNOWN)).collect()
    }
}

impl Names {
    pub(super) fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        let memory = MemoryConsumer::new("names of groups").register(pool);
        Self(Mutex::new(Held { numbers: HashMap::new(), texts: Vec::new(), memory, dictionaries: Vec::new() }))
    }

    fn numbers(&self, names: &DictionaryArray<Int32Type>) -> Result<Int32Array> {
        let Some(texts) = names.values().as_string_opt::<i32>() else {
            return Err(DataFusionError::Internal("a column of names does not hold texts".to_owned()));
        };
        let nulls = names.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let keys = names.keys().values();
        let mut known = self.0.lock().known(texts);
        let mut numbers = known.numbers_of(keys);
        if numbers.contains(&UNKNOWN) {
            let mut held = self.0.lock();
            for (row, key) in keys.iter().enumerate() {
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    held.learn(&mut known, *key as usize)?;
                }
            }
            numbers = known.numbers_of(keys);
        }
        self.0.lock().remember(known);
        Ok(Int32Array::try_new(numbers.into(), nulls)?)
    }

    fn names(&self, numbers: &Int32Array) -> Result<ArrayRef> {
        let held = self.0.lock();
        let mut names = StringDictionaryBuilder::<Int32Type>::new();
        for number in numbers {
            match number.and_then(|number| held.texts.get(number as usize)) {
                Some(name) => drop(names.append(name)?),
                None => names.append_null(),
            }
        }
        Ok(Arc::new(names.finish()))
    }
}

impl Held {
    /// What is known of a dictionary, which is the caller's until it is [remembered](Held::remember) again.
    fn known(&mut self, texts: &StringArray) -> Known {
        // The buffers are held, so that no other dictionary can be where one of these is.
        let is_same = |known: &Known| {
            known.texts.len() == texts.len() && known.texts.value_offsets().as_ptr() == texts.value_offsets().as_ptr()
        };
        match self.dictionaries.iter().position(is_same) {
            Some(at) => self.dictionaries.swap_remove(at),
            None => Known { texts: texts.clone(), numbers: vec![UNKNOWN; texts.len()] },
        }
    }

    fn remember(&mut self, known: Known) {
        if self.dictionaries.len() >= DICTIONARIES_MAX {
            self.dictionaries.remove(0);
        }
        self.dictionaries.push(known);
    }

    fn learn(&mut self, known: &mut Known, key: usize) -> Result<()> {
        if known.numbers[key] == UNKNOWN {
            known.numbers[key] = self.number(known.texts.value(key))?;
        }
        Ok(())
    }

    fn number(&mut self, name: &str) -> Result<i32> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        self.memory.try_grow(name.len() + NAME_BYTES)?;
        let number = i32::try_from(self.texts.len());
        let number =
            number.map_err(|_| DataFusionError::ResourcesExhausted("too many names to group by".to_owned()))?;
        let name: Arc<str> = name.into();
        self.texts.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        Ok(number)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// Those of one query are others than those of another one.
impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Names {}

impl Hash for Names {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::from_ref(self).hash(state);
    }
}

/// The number of a name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct NumberOf {
    names: Arc<Names>,
    signature: Signature,
}

impl NumberOf {
    pub(super) fn new(names: Arc<Names>) -> Self {
        Self { names, signature: Signature::any(1, Volatility::Stable) }
    }
}

impl ScalarUDFImpl for NumberOf {
    fn name(&self) -> &'static str {
        "number_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let names = only(args)?;
        let names = names.as_dictionary_opt::<Int32Type>();
        let names = names.ok_or_else(|| DataFusionError::Internal("a column of names is no dictionary".to_owned()))?;
        Ok(ColumnarValue::Array(Arc::new(self.names.numbers(names)?)))
    }
}

/// The name of a number, in a column like the one that it was in.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct NameOf {
    names: Arc<Names>,
    field: FieldRef,
    signature: Signature,
}

impl NameOf {
    pub(super) fn new(names: Arc<Names>, field: FieldRef) -> Self {
        Self { names, field, signature: Signature::any(1, Volatility::Stable) }
    }
}

impl ScalarUDFImpl for NameOf {
    fn name(&self) -> &'static str {
        "name_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let numbers = only(args)?;
        let numbers = numbers.as_primitive_opt::<Int32Type>();
        let numbers =
            numbers.ok_or_else(|| DataFusionError::Internal("numbers of names are no integers".to_owned()))?;
        Ok(ColumnarValue::Array(self.names.names(numbers)?))
    }
}

fn only(args: ScalarFunctionArgs) -> Result<ArrayRef> {
    let rows = args.number_rows;
    let argument = args.args.into_iter().next();
    argument.ok_or_else(|| DataFusionError::Internal("an argument is missing".to_owned()))?.into_array(rows)
}

#[cfg(test)]
mod tests {
    use arrow::compute::cast;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};

    use super::*;

    fn dictionary(names: &[Option<&str>]) -> DictionaryArray<Int32Type> {
        names.iter().copied().collect()
    }

    fn unbounded() -> Arc<dyn MemoryPool> {
        Arc::new(UnboundedMemoryPool::default())
    }

    #[test]
    fn names_come_back_whatever_dictionary_they_were_in() {
        let names = Names::new(&unbounded());
        let first = names.numbers(&dictionary(&[Some("a"), None, Some("b"), Some("a")])).unwrap();
        let second = names.numbers(&dictionary(&[Some("b"), Some("c"), Some("a")])).unwrap();
        assert_eq!((second.value(0), second.value(2)), (first.value(2), first.value(0)));
        let text = |numbers: &Int32Array| -> Vec<Option<String>> {
            let texts = cast(&names.names(numbers).unwrap(), &DataType::Utf8).unwrap();
            texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
        };
        assert_eq!(text(&first), [Some("a"), None, Some("b"), Some("a")].map(|text| text.map(str::to_owned)));
        assert_eq!(text(&second), ["b", "c", "a"].map(|text| Some(text.to_owned())));
    }

    #[test]
    fn a_null_among_the_texts_of_a_dictionary_is_null() {
        let texts = StringArray::from(vec![Some("a"), None]);
        let keys = Int32Array::from(vec![Some(1), Some(0), None]);
        let with_null = DictionaryArray::try_new(keys, Arc::new(texts)).unwrap();
        let numbers = Names::new(&unbounded()).numbers(&with_null).unwrap();
        assert_eq!(numbers.iter().map(|number| number.is_some()).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn dictionaries_are_told_apart_however_many_there_are() {
        let names = Names::new(&unbounded());
        let all: Vec<_> = (0..100).map(|n| dictionary(&[Some(&format!("n-{n}")), Some("all")])).collect();
        for _ in 0..2 {
            for (n, dictionary) in all.iter().enumerate() {
                let numbers = names.numbers(dictionary).unwrap();
                let texts = cast(&names.names(&numbers).unwrap(), &DataType::Utf8).unwrap();
                assert_eq!(texts.as_string::<i32>().value(0), format!("n-{n}"));
                assert_eq!(texts.as_string::<i32>().value(1), "all");
            }
        }
        assert!(names.0.lock().dictionaries.len() <= DICTIONARIES_MAX);
    }

    #[test]
    fn more_names_than_there_is_memory_for_are_an_error() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000));
        let names = Names::new(&pool);
        let many: Vec<String> = (0..100).map(|n| format!("name-{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| Some(name.as_str())).collect();
        let error = names.numbers(&dictionary(&many)).unwrap_err();
        assert!(matches!(error, DataFusionError::ResourcesExhausted(_)), "{error}");
        drop(names);
        assert_eq!(pool.reserved(), 0);
    }
}
