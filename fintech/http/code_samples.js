{
  plugins: [
    ({ React }) => {
      // The examples of an operation (`x-codeSamples`), one language at a time, below its parameters.
      const Samples = ({ samples, Code }) => {
        const [chosen, choose] = React.useState(0);
        const buttons = samples.map(({ label }, number) =>
          React.createElement("button", {
            key: label,
            type: "button",
            className: "btn",
            "aria-pressed": number === chosen,
            disabled: number === chosen,
            style: { marginRight: "8px" },
            onClick: () => choose(number),
          }, label));
        const { lang, source } = samples[chosen];
        return React.createElement("div", { className: "opblock-section code-samples" },
          React.createElement("div", { className: "opblock-section-header" },
            React.createElement("h4", { className: "opblock-title" }, "Example"), buttons),
          React.createElement("div", { style: { padding: "0 20px" } },
            React.createElement(Code, { language: { shell: "bash" }[lang] ?? lang, canCopy: true }, source)));
      };
      return {
        wrapComponents: {
          parameters: (Parameters, { getComponent }) => (props) => {
            const samples = props.operation?.get("x-codeSamples")?.toJS() ?? [];
            return React.createElement(React.Fragment, null,
              React.createElement(Parameters, props),
              samples.length > 0 &&
                React.createElement(Samples, { samples, Code: getComponent("HighlightCode", true) }));
          },
        },
      };
    },
  ],
}
