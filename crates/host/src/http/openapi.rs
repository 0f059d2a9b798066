//! `/openapi.json`, written from the endpoints' own declarations (OpenAPI 3.1). It describes parameters, bodies
//! and error answers; it does not repeat the members of every answer.

use serde_json::{Map, Value, json};

use super::{
    endpoint::Endpoint,
    params::{Kind, Param},
};

pub(crate) fn document(node: &str, about: &str, endpoints: &[Endpoint]) -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(endpoint.method.as_str().to_ascii_lowercase(), operation(endpoint));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": format!("Crosstalk: {node}"), "version": env!("CARGO_PKG_VERSION"), "description": about },
        "paths": paths,
        "components": { "responses": { "Problem": {
            "description": "What was wrong, what was expected, and what to do (RFC 9457)",
            "content": { "application/problem+json": { "schema": { "type": "object", "required": ["title", "status", "detail"], "properties": {
                "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
                "detail": { "type": "string" }, "field": { "type": "string" },
            } } } },
        } } },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let in_path = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(endpoint.params.iter().map(parameter));
    let name = format!("{} {}", endpoint.method.as_str().to_ascii_lowercase(), endpoint.path);
    let mut operation = json!({
        "operationId": name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_"),
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": { "default": { "$ref": "#/components/responses/Problem" }, "2XX": { "description": "Done, or under way" } },
    });
    if let (Some(about), Value::Object(operation)) = (endpoint.details, &mut operation) {
        operation.insert("description".to_owned(), Value::String(about.to_owned()));
    }
    if let (Some(about), Value::Object(operation)) = (endpoint.body, &mut operation) {
        let content = json!({ "*/*": { "schema": {} } });
        operation.insert("requestBody".to_owned(), json!({ "description": about, "content": content }));
    }
    operation
}

fn parameter(param: &Param) -> Value {
    let mut schema = match &param.kind {
        Kind::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Choice(words) => json!({ "type": "string", "enum": words }),
        Kind::Text(max) => json!({ "type": "string", "minLength": 1, "maxLength": max }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Run => json!({ "type": "string", "pattern": "^[0-9a-f]{12}$" }),
        Kind::Rate | Kind::Duration(_) | Kind::Size(_) | Kind::Name => json!({ "type": "string" }),
    };
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), Value::String(param.kind.expected()));
    }
    let about = if param.default.is_empty() {
        param.about.to_owned()
    } else {
        format!("{} Default: {}.", param.about, param.default)
    };
    json!({ "name": param.name, "in": "query", "required": false, "description": about, "schema": schema })
}
