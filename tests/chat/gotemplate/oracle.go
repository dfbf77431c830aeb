// Executes templates with Go's own text/template, for make_goldens.py.
//
// Reads a line of JSON for each case, {"template", "data"} or {"template", "messages", "tools"}, and writes a line
// for each: {"text"} or {"error"}. Needs Go 1.24 or later: go run oracle.go < cases > results
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/template"
)

// What Ollama's API has, as far as templates see it.

type Kinds []string

func (k *Kinds) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*k = Kinds{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(k))
}

func (k Kinds) MarshalJSON() ([]byte, error) {
	if len(k) == 1 {
		return json.Marshal(k[0])
	}
	return json.Marshal([]string(k))
}

func (k Kinds) String() string {
	switch len(k) {
	case 0:
		return ""
	case 1:
		return k[0]
	}
	return fmt.Sprint([]string(k))
}

type Property struct {
	AnyOf       []Property `json:"anyOf,omitempty"`
	Type        Kinds      `json:"type,omitempty"`
	Items       any        `json:"items,omitempty"`
	Description string     `json:"description,omitempty"`
	Enum        []any      `json:"enum,omitempty"`
	Properties  *Inner     `json:"properties,omitempty"`
	Required    []string   `json:"required,omitempty"`
}

type Inner map[string]Property // in the API its keys have an order

var script = map[string]string{"string": "string", "number": "number", "integer": "number", "boolean": "boolean",
	"array": "any[]", "object": "Record<string, any>", "null": "null"}

func (p Property) ToTypeScriptType() string {
	var types []string
	for _, each := range p.AnyOf {
		types = append(types, each.ToTypeScriptType())
	}
	if len(types) > 0 {
		return strings.Join(types, " | ")
	}
	for _, kind := range p.Type {
		known, ok := script[kind]
		if !ok {
			known = "any"
		}
		types = append(types, known)
	}
	if len(types) == 0 {
		return "any"
	}
	return strings.Join(types, " | ")
}

func asJSON(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(data)
}

type Properties map[string]Property

func (p Properties) String() string {
	if p == nil {
		return "{}"
	}
	return asJSON(p)
}

type Parameters struct {
	Type       string     `json:"type"`
	Defs       any        `json:"$defs,omitempty"`
	Items      any        `json:"items,omitempty"`
	Required   []string   `json:"required,omitempty"`
	Properties Properties `json:"properties"`
}

func (p Parameters) String() string { return asJSON(p) }

type Function struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  Parameters `json:"parameters"`
}

func (f Function) String() string { return asJSON(f) }

type Tool struct {
	Type     string   `json:"type"`
	Items    any      `json:"items,omitempty"`
	Function Function `json:"function"`
}

func (t Tool) String() string { return asJSON(t) }

type Tools []Tool

func (t Tools) String() string { return asJSON(t) }

type Arguments map[string]any

func (a Arguments) String() string {
	if a == nil {
		return "{}"
	}
	return asJSON(a)
}

type CallFunction struct {
	Index     int       `json:"index"`
	Name      string    `json:"name"`
	Arguments Arguments `json:"arguments"`
}

type Call struct {
	ID       string       `json:"id,omitempty"`
	Function CallFunction `json:"function"`
}

type Message struct {
	Role       string `json:"role"`
	Content    string `json:"content"`
	Thinking   string `json:"thinking,omitempty"`
	Images     []byte `json:"images,omitempty"`
	ToolCalls  []Call `json:"tool_calls,omitempty"`
	ToolName   string `json:"tool_name,omitempty"`
	ToolCallID string `json:"tool_call_id,omitempty"`
}

var functions = template.FuncMap{
	"json":          asJSON,
	"currentDate":   func(...string) string { return "2026-07-04" },
	"yesterdayDate": func(...string) string { return "2026-07-03" },
	"toTypeScriptType": func(value any) string {
		if property, ok := value.(Property); ok {
			return property.ToTypeScriptType()
		}
		return "any"
	},
}

type testCase struct {
	Template string         `json:"template"`
	Data     map[string]any `json:"data"`
	Messages []*Message     `json:"messages"`
	Tools    Tools          `json:"tools"`
}

type result struct {
	Text  *string `json:"text,omitempty"`
	Error string  `json:"error,omitempty"`
}

func run(each testCase) (done result) {
	defer func() {
		if failure := recover(); failure != nil {
			done = result{Error: fmt.Sprint(failure)}
		}
	}()
	parsed, err := template.New("").Option("missingkey=zero").Funcs(functions).Parse(each.Template)
	if err != nil {
		return result{Error: err.Error()}
	}
	data := each.Data
	if each.Messages != nil {
		data = map[string]any{"Messages": each.Messages, "Tools": each.Tools, "System": "sys", "Response": "",
			"Think": true, "ThinkLevel": "high", "IsThinkSet": true}
	}
	var text strings.Builder
	if err := parsed.Execute(&text, data); err != nil {
		return result{Error: err.Error()}
	}
	written := text.String()
	return result{Text: &written}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var each testCase
		if err := json.Unmarshal(lines.Bytes(), &each); err != nil {
			panic(err)
		}
		if err := out.Encode(run(each)); err != nil {
			panic(err)
		}
	}
}
