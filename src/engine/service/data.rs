//! The scratch folder of a service.
//!
//! Invariant: nothing is removed but what a service made. A folder that a service names is noted when it is made; one
//! that is not empty and not noted is refused. Ours, below `.iact/services`, needs no note.
#![allow(clippy::disallowed_methods, reason = "shell: makes and removes folders")]

use super::House;
use super::hold::Place;
use crate::graph::service;
use crate::template::Layer;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A service's scratch folder.
pub(super) struct Data {
    pub(super) path: PathBuf,
    /// To be removed at the end, with the note that we made it.
    remove: Option<PathBuf>,
}

impl Data {
    /// Fresh and empty, unless it is kept; nothing is made if no text names it.
    pub(super) fn make(house: &House, id: u32, place: &Place) -> Result<Self, String> {
        let declared = house.declaration(id);
        let path = Self::path(house, id, place)?;
        if !service::uses_data(&house.templates, declared) {
            return Ok(Self { path, remove: None });
        }
        let wrong = |error: std::io::Error| format!("cannot have its folder `{}`: {error}", path.display());
        let note = place.made_data();
        let noted = std::fs::read_to_string(&note).is_ok_and(|text| Path::new(&text) == path);
        let is_new = std::fs::read_dir(&path).map_or(true, |mut entries| entries.next().is_none());
        if !is_new && !noted && path != place.data() {
            return Err(format!(
                "cannot have its folder `{}`: it holds files that no service made; remove them or choose another",
                path.display()
            ));
        }
        if !is_new && !declared.keep_data {
            std::fs::remove_dir_all(&path).map_err(wrong)?;
        }
        std::fs::write(&note, path.as_os_str().as_encoded_bytes()).map_err(wrong)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(wrong)?;
        Ok(Self { path, remove: (!declared.keep_data).then_some(note) })
    }

    fn path(house: &House, id: u32, place: &Place) -> Result<PathBuf, String> {
        let service = &house.services[id as usize];
        let Some(text) = &house.declaration(id).data else { return Ok(place.data()) };
        let mut layer = Layer::default();
        layer.set_text("workspace", house.root.to_string_lossy());
        let scope = service.scope.with_layer(Arc::new(layer));
        let written = house.templates.render(&text.value, &scope, crate::template::Quoting::None);
        let written = written.map_err(|wrong| wrong.message)?;
        let normal =
            crate::path::normalise(&service.folder, &written).map_err(|why| format!("`data`: {why}"))?;
        if normal.path.is_empty() {
            return Err("cannot have the workspace itself as its `data`".to_owned());
        }
        Ok(house.root.join(normal.path))
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(note) = &self.remove {
            // What cannot be removed is removed before the next start, which then says why it cannot.
            let _ = std::fs::remove_dir_all(&self.path);
            let _ = std::fs::remove_file(note);
        }
    }
}
