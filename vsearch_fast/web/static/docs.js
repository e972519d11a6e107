// Swagger UI, started from a file of its own: the policy of the pages allows no script in them.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
