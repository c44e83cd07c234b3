//! The JSON Schema (draft 2020-12) of Iactfile.toml, for editors: another reading of the parser's own table
//! of keys.
//!
//! Invariant: what the parser accepts the schema accepts; a key one knows the other knows. (Editors check
//! less: templates, names of targets and the sums of sizes are the parser's alone.)

use crate::manifest::keys;
use crate::manifest::shape::{Fields, Names, Rule, Shape};
use serde_json::{Map, Value, json};

/// The whole schema.
pub fn schema() -> Value {
    let mut root = table(&keys::ROOT);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Iactfile.toml");
    root
}

fn table(fields: &Fields) -> Value {
    let mut properties = Map::new();
    for row in fields.rows {
        let mut shape = shape(&row.shape);
        shape["description"] = json!(row.about);
        properties.insert(row.name.to_owned(), shape);
    }
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    let demands: Vec<Value> = fields.rules.iter().map(rule).collect();
    if !demands.is_empty() {
        schema["allOf"] = json!(demands);
    }
    schema
}

fn rule(rule: &Rule) -> Value {
    let has = |name: &&str| json!({ "required": [name] });
    let any = |names: &[&str]| names.iter().map(has).collect::<Vec<_>>();
    match rule {
        Rule::Needs(name) => has(name),
        Rule::ExactlyOne(names) => json!({ "oneOf": any(names) }),
        Rule::AtLeastOne(names) => json!({ "anyOf": any(names) }),
        Rule::AtMostOne(names) => {
            let mut choices = any(names);
            choices.push(json!({ "not": { "anyOf": any(names) } }));
            json!({ "oneOf": choices })
        }
        Rule::OnlyWith(names, others) => {
            json!({ "if": { "anyOf": any(names) }, "then": { "anyOf": any(others) } })
        }
        // What a list and a table hold is not compared in a schema.
        Rule::Apart(..) => json!({}),
    }
}

fn shape(shape: &Shape) -> Value {
    let one_of = |a: Value, b: Value| json!({ "oneOf": [a, b] });
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Word => json!({ "type": "string", "minLength": 1 }),
        Shape::Name(names) => json!({ "type": "string", "pattern": pattern(*names) }),
        Shape::EnvName => json!({ "type": "string", "pattern": pattern(Names::Env) }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Count { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Amount => one_of(json!({ "type": "integer", "minimum": 1 }), json!({ "const": "all" })),
        Shape::Port => {
            one_of(json!({ "type": "integer", "minimum": 1, "maximum": 65535 }), json!({ "const": "auto" }))
        }
        Shape::Duration => {
            json!({ "type": "string", "pattern": "^(?=.*[1-9])(\\d+w)?(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?$" })
        }
        Shape::Size => one_of(
            json!({ "type": "integer", "minimum": 0 }),
            json!({ "type": "string", "pattern": "^\\d+(\\.\\d{1,9})? *(B|[kKMGT]B|[KMGTP]iB)?$" }),
        ),
        Shape::Version => json!({ "type": "string", "minLength": 1 }),
        Shape::Choice(of) => json!({ "enum": of }),
        Shape::List { of, least } => {
            let mut list = json!({ "type": "array", "items": self::shape(of) });
            if *least > 0 {
                list["minItems"] = json!(least);
            }
            list
        }
        Shape::OneOrMore(of) => one_of(self::shape(of), json!({ "type": "array", "items": self::shape(of) })),
        Shape::Values(names) => named(*names, loose()),
        Shape::Axes => named(Names::Variable, self::shape(&Shape::Axis)),
        Shape::Axis => json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": loose() }),
        Shape::Table(fields) => table(fields),
        Shape::Named(names, fields) => named(*names, table(fields)),
        Shape::TextOr(text, fields) => one_of(self::shape(text), table(fields)),
    }
}

fn loose() -> Value {
    json!({ "type": ["string", "integer", "number", "boolean"] })
}

fn named(names: Names, value: Value) -> Value {
    json!({ "type": "object", "propertyNames": { "pattern": pattern(names) }, "additionalProperties": value })
}

fn pattern(names: Names) -> &'static str {
    match names {
        Names::Target => "^(?!.*(^|/)(\\.\\.?)?(/|$))[A-Za-z0-9_][A-Za-z0-9_./-]*$",
        Names::Service => "^[A-Za-z_][A-Za-z0-9_-]*$",
        Names::Variable => "^[A-Za-z_][A-Za-z0-9_]*$",
        Names::Env => "^[^=\\s]+$",
        Names::Free => "^[^\\u0000]+$",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables below a schema, whatever it takes to get to them.
    fn objects(schema: &Value) -> Vec<&Value> {
        let mut found = Vec::new();
        let mut left = vec![schema];
        while let Some(at) = left.pop() {
            if at.get("properties").is_some() {
                found.push(at);
                continue;
            }
            left.extend(
                ["additionalProperties", "items"]
                    .iter()
                    .filter_map(|key| at.get(key))
                    .filter(|at| at.is_object()),
            );
            left.extend(at.get("oneOf").and_then(Value::as_array).into_iter().flatten());
        }
        found
    }

    fn agree(fields: &Fields, schema: &Value) {
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), fields.rows.len(), "{}", fields.id);
        assert_eq!(schema["additionalProperties"], json!(false));
        for row in fields.rows {
            let about = properties[row.name]["description"].as_str().unwrap();
            assert!(!about.is_empty() && !about.ends_with('.'), "{about}");
            let inner = match &row.shape {
                Shape::Table(inner) | Shape::Named(_, inner) | Shape::TextOr(_, inner) => *inner,
                Shape::List { of: Shape::Table(inner) | Shape::TextOr(_, inner), .. } => *inner,
                _ => continue,
            };
            let [table] = objects(&properties[row.name])[..] else { panic!("one table in {}", row.name) };
            agree(inner, table);
        }
    }

    #[test]
    fn schema_and_parser_know_the_same_keys() {
        agree(&keys::ROOT, &schema());
    }
}
