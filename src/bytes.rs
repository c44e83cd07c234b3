//! Plain values as bytes: little-endian numbers; texts and lists with their length as u32 in front.
//!
//! Invariant: reading is total: any bytes give a value or `None`, and a length that cannot be true allocates nothing.

pub(crate) fn put_u32(to: &mut Vec<u8>, number: u32) {
    to.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_u64(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(to, u32::try_from(bytes.len()).expect("a text is below 4 GiB"));
    to.extend_from_slice(bytes);
}

pub(crate) fn put_flag(to: &mut Vec<u8>, flag: bool) {
    to.push(u8::from(flag));
}

pub(crate) fn put_option(to: &mut Vec<u8>, number: Option<u64>) {
    put_flag(to, number.is_some());
    put_u64(to, number.unwrap_or_default());
}

pub(crate) fn put_texts(to: &mut Vec<u8>, texts: &[String]) {
    put_list(to, texts, |to, text| put_bytes(to, text.as_bytes()));
}

pub(crate) fn put_list<T>(to: &mut Vec<u8>, list: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    put_u32(to, u32::try_from(list.len()).expect("a list is below 2^32"));
    list.iter().for_each(|item| put(to, item));
}

/// What is left to read; every read may end early, none panics.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    /// `at_least` bytes an item: a length that cannot be true allocates nothing.
    pub(crate) fn list<T>(
        &mut self,
        at_least: usize,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = self.u32()? as usize;
        if count.checked_mul(at_least)? > self.0.len() {
            return None;
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(item(self)?);
        }
        Some(list)
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn option(&mut self) -> Option<Option<u64>> {
        let is_some = self.flag()?;
        self.u64().map(|number| is_some.then_some(number))
    }

    pub(crate) fn texts(&mut self) -> Option<Vec<String>> {
        self.list(4, Self::text)
    }
}
